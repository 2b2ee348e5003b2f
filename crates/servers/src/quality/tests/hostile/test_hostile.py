import os
import socket
import subprocess


def test_reads_no_key():
    assert not os.path.exists("SECRET")
    assert not [name for name in os.environ if "TOKEN" in name or "KEY" in name]


def test_reaches_nobody():
    try:
        socket.create_connection(("127.0.0.1", PORT), 2)
    except OSError:
        return
    raise AssertionError("reached")


def test_changes_nothing():
    for path in ["new", "/usr/new", "/etc/new"]:
        try:
            open(path, "w").close()
        except OSError:
            continue
        raise AssertionError(path)


def test_sees_nobody_else():
    others = [name for name in os.listdir("/proc") if name.isdigit()]
    assert len(others) < 20
    assert subprocess.run(["kill", "-0", "PID"], capture_output=True).returncode != 0 or PID < 20
