"""The classic first program for MNIST, with generated digits in the place of MNIST's training images.

    python scripts/classic.py                # learns from Digits, is tested on MNIST's test images
    python scripts/classic.py --real         # learns from MNIST, for comparison

A small convolutional network with dropout, Adadelta and a learning rate that falls by 30% each epoch. What differs
between the two commands is the line that makes the training set. The test images are always real; they are looked for
in the folder that MNIST_VAE_DATA names, and downloaded if they are not there.
"""
import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from mnist_vae.data import load_mnist
from mnist_vae.dataset import Digits

MEAN, STD = .1307, .3081        # of MNIST's pixels
TRANSFORM = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def real_images(split: str) -> TensorDataset:
    "A split of MNIST, normalised."
    images, labels = load_mnist(split)
    return TensorDataset((images[:, None] / 255 - MEAN) / STD, labels)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(.25),
        nn.Flatten(), nn.Linear(64 * 12 * 12, 128), nn.ReLU(), nn.Dropout(.5), nn.Linear(128, 10),
    )


def train(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(xb), yb).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    right = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in loader)
    return right / len(loader.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--images', type=int, default=60_000, help='generated ones to learn from')
    parser.add_argument('--real', action='store_true', help="learn from MNIST's training images instead")
    args = parser.parse_args()
    torch.manual_seed(0)
    train_set = real_images('train') if args.real else Digits(args.images, transform=TRANSFORM)
    model = network()
    optimizer = torch.optim.Adadelta(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=.7)
    loader, test_loader = DataLoader(train_set, 64, shuffle=True), DataLoader(real_images('test'), 1000)
    for epoch in range(1, args.epochs + 1):
        train(model, loader, optimizer)
        scheduler.step()
        print(f'epoch {epoch}: reads {accuracy(model, test_loader):.2%} of the real test images', flush=True)


if __name__ == '__main__': main()
