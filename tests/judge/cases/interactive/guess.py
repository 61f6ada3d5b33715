"""Guess a number in at most 10 questions; testlib's way: `interactor input output answer`."""
import sys

secret = int(open(sys.argv[1]).read())
for turn in range(10):
    words = input().split()
    if len(words) != 2 or words[0] not in ("?", "!"):
        print("neither a question nor an answer", file=sys.stderr)
        sys.exit(2)
    number = int(words[1])
    if words[0] == "!":
        print(turn, file=open(sys.argv[2], "w"))
        sys.exit(number != secret)
    print("<" if secret < number else ">" if secret > number else "=", flush=True)
print("too many questions", file=sys.stderr)
sys.exit(1)
