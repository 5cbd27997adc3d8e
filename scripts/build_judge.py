"""Make mnist_vae_judge.pth, the judge of `mnist-vae score`: train it on real MNIST and measure real images with it.

    python scripts/build_judge.py           # about seven minutes on one core

The same machine makes the same judge. It takes no part in training or sampling.
"""
from pathlib import Path

from mnist_vae.classifier import train_judge
from mnist_vae.data import load_mnist
from mnist_vae.score import make_ruler, save_ruler

OUT = Path(__file__).resolve().parent.parent / 'mnist_vae_judge.pth'


def main() -> None:
    data, test = load_mnist('train'), load_mnist('test')
    ruler = make_ruler(train_judge(*data, device='cpu'), data, test)
    save_ruler(ruler, OUT)
    print(f'{OUT.name}: {OUT.stat().st_size:,} bytes; reads {ruler.real["1000"]["cas"]:.2%} of the real test images')


if __name__ == '__main__': main()
