"""Right is an answer after at most 8 questions, which the interactor wrote down."""
import sys

sys.exit(int(open(sys.argv[2]).read()) > 8)
