"""A permutation of 1..n without a fixed point; a validator of the Kattis form."""
import sys

n = int(open(sys.argv[1]).read())
feedback = sys.argv[3]
words = sys.stdin.read().split()


def refuse(text):
    open(feedback + "teammessage.txt", "w").write(text)
    open(feedback + "judgemessage.txt", "w").write("SECRET " + open(sys.argv[2]).read())
    sys.exit(43)


if not all(word.isdecimal() for word in words) or sorted(map(int, words)) != list(range(1, n + 1)):
    refuse("no permutation")
if any(int(word) == place for place, word in enumerate(words, 1)):
    refuse("a fixed point")
sys.exit(42)
