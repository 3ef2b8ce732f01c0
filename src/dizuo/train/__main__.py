"""The training process: `python -m dizuo.train FOLDER`."""

import sys

from dizuo.train.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
