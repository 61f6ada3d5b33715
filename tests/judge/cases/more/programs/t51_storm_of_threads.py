# Woken all at once, each waits for all others: together they have waited for longer than there was.
import threading
import time

start = time.monotonic()


def wake(tick):
    while True:
        tick += 0.2
        time.sleep(max(0, start + tick - time.monotonic()))
        for _ in range(10000):
            pass


for _ in range(50):
    threading.Thread(target=wake, args=(0,), daemon=True).start()
time.sleep(10**6)
