need node 'install Node.js with the system'
need npm 'install npm with the system'
export npm_config_cache=/keep/npm npm_config_offline=true npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
if [ -f package-lock.json ] && [ ! -d node_modules ]; then
  npm ci --ignore-scripts >/keep/log 2>&1 || fails
fi
npm run --if-present "$1" >/keep/log 2>&1 || fails
toolchain="node $(node --version), npm $(npm --version)"
if [ "$2" = package ]; then
  npm pack --ignore-scripts --pack-destination /keep/artefacts >/keep/log 2>&1 || fails
else
  for folder in dist build out; do
    if [ -d "$folder" ]; then cp -R "$folder" /keep/artefacts/; fi
  done
fi
: >/keep/components
if [ -f package-lock.json ]; then
  node -e '
    const lock = JSON.parse(require("fs").readFileSync("package-lock.json", "utf8"));
    for (const [place, one] of Object.entries(lock.packages || {})) {
      if (place === "" || !one.version) continue;
      const name = one.name || place.split("node_modules/").pop();
      const hash = /^sha512-(.+)$/.exec(one.integrity || "");
      console.log("npm " + name + " " + one.version + " " + (hash ? "sha512:" + Buffer.from(hash[1], "base64").toString("hex") : "-"));
    }
  ' >/keep/components
fi
