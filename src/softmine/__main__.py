"""``python -m softmine``: the same as the command ``softmine``."""

import sys

from softmine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
