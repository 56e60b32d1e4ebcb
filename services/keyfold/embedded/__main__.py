"""`python -m keyfold.embedded DATA_DIRECTORY`: the supervisor process of a local stack; people use `keyfold up`."""

import sys

from keyfold.embedded.supervisor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
