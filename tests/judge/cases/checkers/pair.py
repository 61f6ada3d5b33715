"""Two numbers that add up to the given one, whichever; testlib's way to be called."""
import sys

total = int(open(sys.argv[1]).read())
words = open(sys.argv[2]).read().split()
if len(words) != 2:
    print("two numbers were expected", file=sys.stderr)
    sys.exit(2)
a, b = map(int, words)
if a + b != total:
    print(f"{a} + {b} is not {total}", file=sys.stderr)
    sys.exit(1)
