"""Does with the output what a checker should not: a candidate can have it crash, loop, or take all memory."""
import sys

sys.exit(1 if eval(open(sys.argv[2]).read()) != int(open(sys.argv[3]).read()) else 0)
