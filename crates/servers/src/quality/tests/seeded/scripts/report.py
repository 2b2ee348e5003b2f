"""Wrong on purpose: what the answer key names."""
import json
import subprocess


def run(command, seen=[]):
    seen.append(command)
    return subprocess.run(command, shell=True)


def value(text):
    return eval(text)


def read(path):
    try:
        return open(path).read()
    except:
        return undefined_name
