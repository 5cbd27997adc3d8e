"""`python -m mnist_vae` and `torchrun -m mnist_vae`: the command `mnist-vae`."""
import sys

from .cli import main

if __name__ == '__main__': sys.exit(main())
