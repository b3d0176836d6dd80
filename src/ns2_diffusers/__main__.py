"""`python -m ns2_diffusers` is `ns2-diffusers`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
