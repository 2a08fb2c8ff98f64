"""`python -m mtl_bioner`, the same as the command `mtl-bioner`."""

import sys

from mtl_bioner.cli import main


if __name__ == "__main__":
    sys.exit(main())
