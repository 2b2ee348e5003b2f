"""Holds the files around the fleet against the published schemas: `schemas.py grafana|compose|kubernetes ROOT`.

Prints `ok`, or what is wrong, line by line.
"""

import json
import pathlib
import sys

import yaml


def lost(ours, theirs, place, found):
    """What of ours is not in what their model made of it."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                lost(value, theirs[key], f"{place}/{key}", found)
            elif value not in (None, [], {}):
                found.append(f"{place}/{key} is unknown to the schema")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            found.append(f"{place} loses items")
        for number, pair in enumerate(zip(ours, theirs)):
            lost(*pair, f"{place}[{number}]", found)
    elif ours != theirs:
        found.append(f"{place}: {ours!r} becomes {theirs!r}")


def grafana(root, found):
    """Dashboards survive the way through Grafana's own models; panels have their place; what is provisioned is there."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    sources = {}
    for file in (root / "docker/grafana/provisioning/datasources").glob("*.yml"):
        for source in yaml.safe_load(file.read_text())["datasources"]:
            sources[source["uid"]] = source["type"]
    dashboards = sorted((root / "docker/grafana/dashboards").glob("*.json"))
    if len(dashboards) != 5:
        found.append(f"{len(dashboards)} dashboards")
    for file in dashboards:
        ours = json.loads(file.read_text())
        theirs = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(ours)))
        lost(ours, theirs, file.name, found)
        taken = set()
        ids = [panel["id"] for panel in ours["panels"]]
        if len(ids) != len(set(ids)):
            found.append(f"{file.name}: ids are not unique")
        for panel in ours["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            if cells & taken or place["x"] + place["w"] > 24:
                found.append(f"{file.name}: {panel['title']} lies over another panel or over the edge")
            taken |= cells
            for target in panel.get("targets", []):
                source = target["datasource"]
                if sources.get(source["uid"]) != source["type"]:
                    found.append(f"{file.name}: {panel['title']} asks {source}, which is not provisioned")


def compose(root, found):
    """The file is valid, and what it says of containers holds for each of them."""
    import importlib.util

    import jsonschema

    folder = pathlib.Path(importlib.util.find_spec("compose").origin).parent
    schema = json.loads((folder / "config/compose_spec.json").read_text())
    # Through JSON, so that what services share in YAML is each one's own.
    file = json.loads(json.dumps(yaml.safe_load((root / "docker/compose/docker-compose.complete.yml").read_text())))
    # The schema is from before projects could have a name of their own, and processes a bound.
    if file.pop("name") != "mcp":
        found.append("the project is not called mcp")
    for name, one in file["services"].items():
        if not one["deploy"]["resources"]["limits"].pop("pids", 0) and name.startswith(("mcp-", "agent-")):
            found.append(f"{name}: its processes have no bound")
    for error in jsonschema.Draft7Validator(schema).iter_errors(file):
        found.append(f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}")
    ports = yaml.safe_load((root / "docker/compose/docker-compose.ports.yml").read_text())
    for error in jsonschema.Draft7Validator(schema).iter_errors(ports):
        found.append(f"ports: {error.message[:200]}")
    built = json.loads((root / "docker/generated/services.json").read_text())
    ours = {("mcp-" if one["kind"] == "server" else "agent-") + one["name"]: one["port"] for one in built}
    services = file["services"]
    full = {name for name, one in services.items() if "full" in one["profiles"]}
    beside = {"postgres", "redis", "rabbitmq", "etcd", "prometheus", "grafana", "nginx", "discord-bot"}
    if full != set(ours) | beside:
        found.append(f"full is {sorted(full ^ (set(ours) | beside))} off")
    for name, one in services.items():
        promises(name, one, file, ours, found)
    scaled = set(ours) - {"mcp-master-coordinator"}
    if set(ports["services"]) != scaled:
        found.append("the file of ports has other services")


def promises(name, one, file, ours, found):
    """What holds of every container."""

    def claim(holds, what):
        if not holds:
            found.append(f"{name}: {what}")

    claim(one.get("read_only") is True, "its root can be written")
    claim(one.get("cap_drop") == ["ALL"], "it keeps capabilities")
    claim("no-new-privileges:true" in one.get("security_opt", []), "it may gain privileges")
    claim(one.get("user") not in (None, "root", "0") or name == "etcd", "it is root")
    claim(one.get("restart") == "unless-stopped", "it does not come back")
    claim("memory" in one["deploy"]["resources"]["limits"], "its memory has no bound")
    claim(set(one["networks"]) <= set(file["networks"]), "it is in a network that is not there")
    used = [secret if isinstance(secret, str) else secret["source"] for secret in one.get("secrets", [])]
    claim(set(used) <= set(file["secrets"]), "it has a secret that is not there")
    for key, value in (one.get("environment") or {}).items():
        secret = key.endswith(("PASSWORD", "PASS", "_KEY", "_URL")) and not key.endswith("FLOTILLA_URL")
        claim(not secret, f"{key} stands in its environment")
        if str(value).startswith("/run/secrets/"):
            claim(str(value).removeprefix("/run/secrets/") in used, f"{key} names a secret that it has not")
    for other in one.get("depends_on", {}):
        before = file["services"][other]
        claim("healthcheck" in before, f"{other} tells nobody whether it is healthy")
        exporters = set(one["profiles"]) == {"exporters"}
        claim(exporters or set(one["profiles"]) <= set(before["profiles"]), f"{other} does not start with it")
    if name in ours:
        claim("container_name" not in one, "it has one name for all copies")
        claim(name == "mcp-master-coordinator" or "ports" not in one, "it has a port on the host")
        claim(one["healthcheck"]["test"] == ["CMD", "/flotilla", "health", str(ours[name])], "its health is another's")
        claim("wallet_private_key" not in used or name == "mcp-execution", "it has the wallet's key")
    for port in one.get("ports", []):
        claim(port.startswith("${FLOTILLA_PUBLISH:-127.0.0.1}:"), f"{port} is published to the world")
    claim(one["image"].split(":")[-1] not in ("latest", one["image"]) or name in ours, "its version is not said")


def kubernetes(root, found):
    """Every object is valid, and objects that belong together name each other."""
    import kubernetes_validate

    folder = root / "deploy/kubernetes/base"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    listed = set(kustomization["resources"]) | {"kustomization.yaml"}
    there = {file.name for file in folder.glob("*.yaml")}
    if listed != there:
        found.append(f"the kustomization is {sorted(listed ^ there)} off")
    objects = []
    for name in kustomization["resources"]:
        objects += [one for one in yaml.safe_load_all((folder / name).read_text()) if one]
    control = root / "deploy/kubernetes/control"
    roles = [one for one in yaml.safe_load_all((control / "role.yaml").read_text()) if one]
    for one in objects + roles:
        place = f"{one['kind']} {one['metadata']['name']}"
        try:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{place}: {error.message[:200]}")
    pods = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Deployment"}
    for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
        names = {one["metadata"]["name"] for one in objects if one["kind"] == kind}
        if names != set(pods):
            found.append(f"{kind}: {sorted(names ^ set(pods))} off")
    for one in roles:
        for rule in one.get("rules", []):
            if set(rule["resourceNames"]) != set(pods):
                found.append(f"the role is {sorted(set(rule['resourceNames']) ^ set(pods))} off")
    for patch in yaml.safe_load((control / "kustomization.yaml").read_text())["patches"]:
        if yaml.safe_load(patch["patch"])["metadata"]["name"] not in pods:
            found.append("the component patches nothing")
    for name, one in pods.items():
        labels = one["spec"]["template"]["metadata"]["labels"]
        for other in objects:
            selector = other["spec"].get("selector") if other["metadata"]["name"] == name else None
            if selector and not (selector.get("matchLabels", selector)).items() <= labels.items():
                found.append(f"{other['kind']} {name} selects something else")
        container = one["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if container[probe]["httpGet"]["port"] not in {port["name"] for port in container["ports"]}:
                found.append(f"{name}: {probe} asks at a port that is not there")


def main():
    """Runs the check that is asked for."""
    what, root = sys.argv[1], pathlib.Path(sys.argv[2])
    found = []
    {"grafana": grafana, "compose": compose, "kubernetes": kubernetes}[what](root, found)
    print("\n".join(found) or "ok")
    return 1 if found else 0


sys.exit(main())
