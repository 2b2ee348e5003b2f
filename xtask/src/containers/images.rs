//! The images that the compose file names, made of Debian's packages where they are not there, and the fleet's own around a binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::docker::Docker;
use super::system::COMPOSE_FILE;
use crate::problem::{Problem, Result};
use crate::repo::Repo;
use crate::{command, host, say};

/// The fleet's image, as this makes it; the compose file takes the name from `FLOTILLA_IMAGE`.
pub(crate) const FLEET_IMAGE: &str = "flotilla:e2e";
/// What others' programs are tried from.
pub(crate) const DEBIAN_IMAGE: &str = "local/debian:trixie";
/// What the local chain runs in.
pub(crate) const CHAIN_IMAGE: &str = "flotilla-e2e-chain:latest";
/// What stands in for an image says so by this label.
const LABEL: &str = "flotilla.stands-in";
/// Which target of our Dockerfile an image's name begins with.
const TARGETS: [(&str, &str); 6] = [
    ("postgres:", "postgres"),
    ("redis:", "redis"),
    ("rabbitmq:", "rabbitmq"),
    ("quay.io/coreos/etcd:", "etcd"),
    ("prom/prometheus:", "prometheus"),
    ("nginx:", "nginx"),
];
/// What may be missing: no package of Debian has it.
const LEFT_OUT: &str = "grafana/grafana:";
/// Making the base takes some minutes, each image some more.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Makes those that are missing, or were made by this before.
pub(crate) fn make(repo: &Repo, docker: &Docker, work: &Path, binary: &Path) -> Result {
    let scripts = repo.root.join("xtask/tools/containers");
    fs::create_dir_all(work).map_err(Problem::io(work.display()))?;
    if !docker.can(&["image", "inspect", DEBIAN_IMAGE])? || !docker.can(&["compose", "version"])? {
        host::debian()?;
        say::line("making a base image with debootstrap, and fetching Compose …");
        let mut base = Command::new("sh");
        base.arg(scripts.join("base.sh")).arg(work);
        command::run_logged(&mut base, &work.join("base.log"), LIMIT, || {})?;
    }
    let context = context(&scripts, work, binary)?;
    let build = |target: &str, image: &str| -> Result {
        say::line(&format!("image {image}: {target} of Debian's packages"));
        let mut build = docker.command(&["build", "--network", "host", "--label", &format!("{LABEL}={target}")]);
        build.args(["--target", target, "--tag", image, "--file"]).arg(scripts.join("Dockerfile")).arg(&context);
        build.env("DOCKER_BUILDKIT", "1");
        command::run_logged(&mut build, &work.join(format!("{target}.log")), LIMIT, || {})
    };
    for image in named(repo)? {
        let ours = docker.says(&["image", "ls", "--quiet", "--filter", &format!("label={LABEL}"), &image])?;
        let there = docker.can(&["image", "inspect", &image])?;
        match TARGETS.iter().find(|(name, _)| image.starts_with(name)) {
            // The official one, on a machine that could fetch it.
            _ if there && ours.trim().is_empty() => say::line(&format!("image {image}: as it is on this machine")),
            Some((_, target)) => build(target, &image)?,
            None if image.starts_with(LEFT_OUT) => say::line(&format!("image {image}: cannot be had, left out")),
            None => {
                return Err(Problem::new(format!("the compose file names {image}, which nothing here makes"))
                    .fix("xtask/tools/containers/Dockerfile, and the table in xtask/src/containers/images.rs"));
            }
        }
    }
    build("chain", CHAIN_IMAGE)?;
    build("flotilla", FLEET_IMAGE)
}

/// The images of others that the mode full starts: those of services with a name of their own.
fn named(repo: &Repo) -> Result<BTreeSet<String>> {
    let path = repo.root.join(COMPOSE_FILE);
    let text = fs::read_to_string(&path).map_err(Problem::io(path.display()))?;
    Ok(images_of(&text))
}

/// A service with a `container_name` is one of the six of infrastructure, or Nginx: the rest comes with other profiles.
fn images_of(compose: &str) -> BTreeSet<String> {
    let blocks = compose.split("\n\n").filter(|block| block.contains("    container_name: "));
    blocks
        .filter_map(|block| block.lines().find_map(|line| line.strip_prefix("    image: ")))
        .map(str::to_owned)
        .collect()
}

/// A folder with what the images are made of: the binary, and the libraries that it asks for.
fn context(scripts: &Path, work: &Path, binary: &Path) -> Result<PathBuf> {
    let (context, image) = (work.join("context"), work.join("context/image"));
    if context.exists() {
        fs::remove_dir_all(&context).map_err(Problem::io(context.display()))?;
    }
    fs::create_dir_all(&image).map_err(Problem::io(image.display()))?;
    let copy = |from: &Path, to: &Path| fs::copy(from, to).map(drop).map_err(Problem::io(from.display()));
    copy(&scripts.join("postgres.sh"), &context.join("postgres.sh"))?;
    copy(binary, &image.join("flotilla"))?;
    // A static binary has none, and `ldd` says so by its exit code.
    let libraries = Command::new("ldd").arg(binary).output().map_err(Problem::io("ldd"))?;
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        let to = image.join(word.trim_start_matches('/'));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(Problem::io(folder.display()))?;
        }
        copy(Path::new(word), &to)?;
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_that_is_started_can_be_made_or_is_known_to_be_missing() {
        let compose = include_str!("../../../docker/compose/docker-compose.complete.yml");
        let images = images_of(compose);
        assert_eq!(images.len(), TARGETS.len() + 1, "{images:?}");
        for image in images {
            let known = TARGETS.iter().map(|(name, _)| *name).chain([LEFT_OUT]).any(|name| image.starts_with(name));
            assert!(known, "{image}");
        }
    }

    #[test]
    fn every_target_is_in_the_dockerfile() {
        let dockerfile = include_str!("../../tools/containers/Dockerfile");
        for target in TARGETS.iter().map(|(_, target)| *target).chain(["flotilla", "chain"]) {
            assert!(dockerfile.contains(&format!(" AS {target}\n")), "{target}");
        }
    }
}
