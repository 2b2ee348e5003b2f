"""The same work by huey (PyPI), a queue on SQLite that programs in Python pick; prints its figures as JSON.

Its file is written as ours: write-ahead log, synchronous NORMAL. It takes a task off the file when it hands it out, so what a worker holds
when it dies is lost; ours keeps it, under a lease.
"""

import json
import os
import sys
import tempfile
import threading
import time

import huey
from huey.storage import SqliteStorage

ONE_BY_ONE, MANY, ROUNDS = (int(word) for word in sys.argv[1:])


class Normal(SqliteStorage):
    def _create_connection(self):
        connection = super()._create_connection()
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def opened(folder: str) -> huey.Huey:
    return huey.Huey("bench", storage_class=Normal, filename=os.path.join(folder, "huey.db"))


def counting(queue: huey.Huey, done: threading.Semaphore):
    @queue.task()
    def count(n, why):
        done.release()
        return {"counted": True}

    return lambda n: count(n, why="to see what it costs")


def one_by_one(queue: huey.Huey, submit) -> dict:
    times = []
    for n in range(ONE_BY_ONE):
        began = time.perf_counter()
        submit(n)
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(ONE_BY_ONE):
        queue.execute(queue.dequeue())
    times.sort()
    return {
        "enqueue_p50_ms": times[len(times) // 2] * 1e3,
        "enqueue_p99_ms": times[len(times) * 99 // 100] * 1e3,
        "one_by_one_per_second": ONE_BY_ONE / (time.perf_counter() - began),
    }


def end_to_end(workers: int) -> float:
    best = 0.0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            queue, done = opened(folder), threading.Semaphore(0)
            submit = counting(queue, done)
            consumer = queue.create_consumer(workers=workers, periodic=False, initial_delay=0.001, backoff=1.0)
            consumer.start()
            began = time.perf_counter()
            for n in range(MANY):
                submit(n)
            for _ in range(MANY):
                done.acquire()
            best = max(best, MANY / (time.perf_counter() - began))
            consumer.stop(graceful=True)
    return best


with tempfile.TemporaryDirectory() as folder:
    queue = opened(folder)
    figures = one_by_one(queue, counting(queue, threading.Semaphore(0)))
figures["end_to_end_1_per_second"] = end_to_end(1)
figures["end_to_end_8_per_second"] = end_to_end(8)
print(json.dumps({"version": huey.__version__, **figures}))
