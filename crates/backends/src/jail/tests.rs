//! Programs that mean harm, on the real thing.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use kernel::Code;
use kernel::jail::Mount;

use super::*;

const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(120),
    cpu_seconds: 60,
    memory_bytes: 192 << 20,
    address_bytes: 192 << 20,
    disk_bytes: 1 << 20,
    processes: 16,
    stdout_bytes: 8 << 10,
    stderr_bytes: 8 << 10,
};

fn program(language: Language, text: &str) -> Program {
    let (arguments, environment) = (Vec::new(), BTreeMap::new());
    Program {
        language,
        text: text.into(),
        arguments,
        environment,
        stdin: String::new(),
        network: false,
        mounts: Vec::new(),
        bounds: BOUNDS,
    }
}

async fn ran(program: &Program) -> Ran {
    Namespaces::default().run(program, CancellationToken::new()).await.unwrap()
}

async fn python(text: &str) -> Ran {
    ran(&program(Language::Python, text)).await
}

/// Runs Python that tries things; each line that it writes is what it tried and how it was refused.
async fn tried(text: &str) -> String {
    let with = "
import os, socket, subprocess
def t(name, f):
    try: print(name, '->', f())
    except BaseException as e: print(name, '->', type(e).__name__, getattr(e, 'strerror', None) or '')
";
    let ran = python(&format!("{with}{text}")).await;
    assert_eq!((ran.end, ran.stderr.as_str()), (End::Exited, ""), "{ran:?}");
    ran.stdout
}

#[tokio::test]
async fn a_program_gets_what_it_is_given_and_tells_what_it_has_to_say() {
    let told =
        "echo \"$1 $2 $COLOUR $HOME $PWD\"; cat; echo kept > file; cat file; echo oh >&2; env | grep JAIL; exit 3";
    let asked = Program {
        arguments: vec!["a b".into(), "$(id)".into()],
        environment: BTreeMap::from([("COLOUR".into(), "blue; \"'`id`".into())]),
        stdin: "in\n".into(),
        ..program(Language::Sh, told)
    };
    let ran = ran(&asked).await;
    assert_eq!((ran.end, ran.exit_code), (End::Exited, Some(3)), "{ran:?}");
    assert_eq!(ran.stdout, "a b $(id) blue; \"'`id` /work /work\nin\nkept\n");
    assert_eq!(ran.stderr, "oh\n");
    let again = super::tests::ran(&program(Language::Sh, "ls -A /work")).await;
    assert_eq!(again.stdout, "", "each has a folder of its own");
}

#[tokio::test]
async fn secrets_are_not_there_by_any_name() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    // Not kept by its own rights: whoever sees it may read it.
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o666)).unwrap();
    let (secret, process) = (secret.display(), std::process::id());
    let said = tried(&format!(
        "
os.symlink('{secret}', 'link'); os.symlink('/', 'root'); os.symlink('/proc/1/root', 'other')
t('secret', lambda: open('{secret}').read())
t('link', lambda: open('link').read())
t('root', lambda: open('root/../..{secret}').read())
t('other', lambda: open('other{secret}').read())
t('working folder', lambda: open('/proc/1/cwd/../../{secret}').read())
t('old', lambda: os.listdir('/old'))
t('shadow', lambda: open('/etc/shadow').read())
t('home', lambda: os.listdir('/root'))
t('fleet', lambda: open('/proc/{process}/environ').read())
t('processes', lambda: len([p for p in os.listdir('/proc') if p.isdigit()]))
t('environment', lambda: sorted(os.environ))
t('descriptors', lambda: [f for f in os.listdir('/proc/self/fd') if int(f) > 3])
"
    ))
    .await;
    expect(
        &said,
        "
secret -> FileNotFoundError No such file or directory
link -> FileNotFoundError No such file or directory
root -> FileNotFoundError No such file or directory
other -> FileNotFoundError No such file or directory
working folder -> FileNotFoundError No such file or directory
old -> FileNotFoundError No such file or directory
shadow -> FileNotFoundError No such file or directory
home -> FileNotFoundError No such file or directory
fleet -> FileNotFoundError No such file or directory
processes -> 2
environment -> ['HOME', 'LANG', 'PATH', 'PWD']
descriptors -> []
",
    );
}

fn expect(said: &str, expected: &str) {
    assert_eq!(said.trim(), expected.trim());
}

#[tokio::test]
async fn the_system_cannot_be_changed_and_there_are_no_rights_to_be_had() {
    let said = tried(
        "
t('usr', lambda: open('/usr/x', 'w'))
t('root', lambda: open('/x', 'w'))
t('script', lambda: open('/script/main', 'w'))
t('python', lambda: open('/usr/bin/python3', 'r+'))
t('device', lambda: os.mknod('disk', 0o660 | 0x6000, os.makedev(8, 0)))
t('namespace', lambda: subprocess.run(['unshare', '-U', 'true'], stderr=subprocess.DEVNULL).returncode)
t('mount', lambda: subprocess.run(['mount', '-t', 'tmpfs', 'x', '/work'], stderr=subprocess.DEVNULL).returncode)
t('remount', lambda: subprocess.run(['mount', '-o', 'remount,bind,rw', '/'], stderr=subprocess.DEVNULL).returncode)
t('host', lambda: socket.sethostname('mine'))
t('root folder', lambda: os.chroot('/work'))
t('nice', lambda: os.nice(-5))
t('rights', lambda: [l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))])
t('more memory', lambda: __import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1)))
",
    )
    .await;
    expect(
        &said,
        "
usr -> OSError Read-only file system
root -> OSError Read-only file system
script -> OSError Read-only file system
python -> PermissionError Permission denied
device -> PermissionError Operation not permitted
namespace -> 1
mount -> 32
remount -> 32
host -> PermissionError Operation not permitted
root folder -> PermissionError Operation not permitted
nice -> PermissionError Operation not permitted
rights -> ['0000000000000000', '0000000000000000', '1']
more memory -> ValueError 
",
    );
}

#[tokio::test]
async fn the_network_is_not_there_unless_it_is_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "
import socket
try: socket.create_connection(('127.0.0.1', {port}), 5).close(); print('reached')
except OSError as e: print(e.strerror)
try: socket.getaddrinfo('example.com', 80); print('found')
except OSError as e: print('no name')
"
    );
    assert_eq!(python(&text).await.stdout, "Network is unreachable\nno name\n");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
    let given = Program { network: true, ..program(Language::Python, &text) };
    let said = ran(&given).await;
    assert!(said.stdout.starts_with("reached\n"), "{said:?}");
}

#[tokio::test]
async fn forks_without_end_come_to_one_and_nothing_is_left() {
    let text = "
import os, time
n = 0
try:
    while True:
        if os.fork() == 0: time.sleep(1000)
        n += 1
except OSError as e: print(n in range(10, 17), e.strerror)
";
    let said = python(text).await;
    // That it returned at all says that none is left: they had its output open.
    assert_eq!((said.end, said.stdout.as_str()), (End::Exited, "True Resource temporarily unavailable\n"), "{said:?}");
    let bounds = Bounds { time: Duration::from_secs(3), ..BOUNDS };
    let bomb = Program { bounds, ..program(Language::Sh, "b() { b | b & wait; }; b; sleep 1000") };
    let said = ran(&bomb).await;
    assert_ne!(said.exit_code, Some(0), "{said:?}");
    assert_eq!(python("print(1)").await.stdout, "1\n", "and the next one runs");
}

#[tokio::test]
async fn a_full_disk_is_its_own() {
    let text = "
import os
n = 0
for name in 'ab':
    f = os.open(name, os.O_WRONLY | os.O_CREAT)
    try:
        while True: n += os.write(f, bytes(4096))
    except OSError as e: print(n <= 1 << 20, type(e).__name__)
os.remove('a'); os.remove('b')
try:
    for i in range(100000): open(str(i), 'w').close()
except OSError as e: print(i < 5000, e.strerror)
";
    assert_eq!(python(text).await.stdout, "True OSError\nTrue OSError\nTrue No space left on device\n");
}

#[tokio::test]
async fn memory_is_bounded_for_each_and_for_all_together() {
    let alone = "
try: bytearray(2 << 30)
except MemoryError: print('no')
";
    assert_eq!(python(alone).await.stdout, "no\n");
    // None asks for more than it may have; together they do.
    let together = "
import os, time
for i in range(8):
    if os.fork() == 0:
        kept = bytearray(os.urandom(1 << 20)) * 64
        time.sleep(1000)
time.sleep(1000)
";
    let said = python(together).await;
    assert_eq!((said.end, said.exit_code), (End::MemoryLimit, None), "{said:?}");
    assert!(said.memory_peak_bytes > BOUNDS.memory_bytes, "{said:?}");
}

#[tokio::test]
async fn time_and_output_are_bounded_and_an_end_can_be_asked_for() {
    let bounds = |change: fn(&mut Bounds)| {
        let mut bounds = BOUNDS;
        change(&mut bounds);
        bounds
    };
    let with = |text: &str, bounds| Program { bounds, ..program(Language::Sh, text) };
    let slow = with("echo began; sleep 1000 & sleep 1000", bounds(|bounds| bounds.time = Duration::from_secs(3)));
    assert_eq!(ran(&slow).await.end, End::TimeLimit);
    let busy = with("while :; do :; done", bounds(|bounds| bounds.cpu_seconds = 1));
    let said = ran(&busy).await;
    assert_eq!((said.end, said.exit_code), (End::Signalled, Some(137)), "{said:?}");
    let loud = with("while :; do echo 0123456789abcdef; done", BOUNDS);
    let said = ran(&loud).await;
    assert_eq!((said.end, said.stdout.len()), (End::OutputLimit, BOUNDS.stdout_bytes));
    let shrill = with("while :; do echo 0123456789abcdef >&2; done", BOUNDS);
    let said = ran(&shrill).await;
    assert_eq!((said.end, said.stderr.len()), (End::OutputLimit, BOUNDS.stderr_bytes));
    let stop = CancellationToken::new();
    stop.cancel();
    let said = Namespaces::default().run(&with("sleep 1000", BOUNDS), stop).await.unwrap();
    assert_eq!((said.end, said.exit_code), (End::Cancelled, None));
}

#[tokio::test]
async fn where_a_program_cannot_be_shut_in_it_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let text = format!("touch {}", mark.display());
    // A kernel that refuses, by the words of the tool that asks it.
    let refusing = folder.path().join("unshare");
    std::fs::write(&refusing, "#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
        .unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&refusing, PermissionsExt::from_mode(0o755)).unwrap();
    // A tool that does not do what it is asked and runs the rest as it is: what is to be shut in notices.
    let lying = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\nwhile [ \"$1\" != sh ]; do shift; done\nexec \"$@\"";
    std::fs::write(lying.path().join("unshare"), script).unwrap();
    std::fs::write(lying.path().join("mount"), "#!/bin/sh\nexit 32").unwrap();
    std::fs::set_permissions(lying.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["unshare", "mount"] {
        std::fs::set_permissions(lying.path().join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let before = |first: &Path| format!("{}:{PATH}", first.display());
    for (path, why) in [
        (before(folder.path()), "unshare: unshare failed: Operation not permitted"),
        (before(lying.path()), "nothing was said"),
        ("/nowhere".into(), "No such file or directory"),
    ] {
        let jail = Namespaces { path };
        let fault = jail.run(&program(Language::Sh, &text), CancellationToken::new()).await.unwrap_err();
        assert!(fault.code == Code::Unsupported && fault.message.contains(why), "{fault}");
        assert!(fault.hint.unwrap().contains("user namespaces"));
    }
    assert!(!mark.exists(), "it was not run");
}

#[tokio::test]
async fn folders_of_the_machine_are_there_as_they_were_given_and_no_further() {
    let outside = tempfile::tempdir().unwrap();
    // Whoever is not root may not even pass.
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let (given, kept) = (outside.path().join("given"), outside.path().join("kept folder"));
    std::fs::create_dir(&given).unwrap();
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(given.join("file"), "hello").unwrap();
    std::fs::write(outside.path().join("secret"), "hunter2").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), given.join("link")).unwrap();
    let mounts = vec![
        Mount { from: given.clone(), name: "project", write: false },
        Mount { from: kept.clone(), name: "keep", write: true },
    ];
    let text = "cat /project/file; echo; cat /project/link || echo no link; echo x > /project/new || echo no new
        rm -f /project/file || echo no rm; cat /project/../secret || echo no secret
        mount -o remount,rw /project 2>/dev/null || echo no remount; echo made > /keep/made; ls -A /keep; env | grep JAIL";
    let ran = ran(&Program { mounts, ..program(Language::Sh, text) }).await;
    assert_eq!(ran.end, End::Exited, "{ran:?}");
    expect(&ran.stdout, "hello\nno link\nno new\nno rm\nno secret\nno remount\nmade");
    assert_eq!(std::fs::read_to_string(kept.join("made")).unwrap(), "made\n");
    assert!(given.join("file").exists() && !given.join("new").exists());
}

#[tokio::test]
async fn who_fills_a_folder_of_the_machine_is_killed() {
    let kept = tempfile::tempdir().unwrap();
    let mounts = vec![Mount { from: kept.path().to_owned(), name: "keep", write: true }];
    let text = "i=0; while true; do head -c 100000 /dev/zero > /keep/$i; i=$((i + 1)); done";
    let ran = ran(&Program { mounts, ..program(Language::Sh, text) }).await;
    assert_eq!((ran.end, ran.exit_code), (End::DiskLimit, None));
}
