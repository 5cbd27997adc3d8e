"""How long an epoch of training takes: ours, the usual loop, pythae's trainer, and the matrix products alone.

    python benchmarks/training.py            # pip install pythae for its line; without, it is left out

Every one trains the same networks on 60,000 images at batch 128 on the CPU. The contestants take turns, several rounds, so that
whatever else the computer does falls on all of them; what counts is the ratio of medians. Ours is the median of three epochs
of `train`; what it does besides, once, is reported apart.
"""
import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from mnist_vae.data import load_mnist
from mnist_vae.loss import vae_loss
from mnist_vae.model import HIDDEN, LATENT_DIM, N_CLASSES, N_PIXELS, VAE
from mnist_vae.training import train

BATCH = 128


def seconds(f) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


class Pictures(Dataset):
    "What torchvision's MNIST does for an image, without its files."
    def __init__(self, images, labels): self.images, self.labels, self.transform = images.numpy(), labels, ToTensor()
    def __len__(self): return len(self.images)
    def __getitem__(self, i): return self.transform(self.images[i]), self.labels[i]


def usual_loop(images, labels):
    "The loop of most tutorials: an image at a time, plain Adam, `.item()` at every step."
    model = VAE()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    total = 0.
    for x, y in DataLoader(Pictures(images, labels), batch_size=BATCH, shuffle=True):
        recon_x, mu, logvar = model(x.flatten(1), y)
        loss = vae_loss(recon_x, x.flatten(1), mu, logvar)
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item()


def floor(images, labels):
    "The matrix products of an epoch and nothing else: one forward and up to two backward for each layer."
    h1, h2 = HIDDEN
    sizes = [(N_PIXELS, h1), (h1, h2), (h2, LATENT_DIM), (h2, LATENT_DIM), (LATENT_DIM + N_CLASSES, h2), (h2, h1), (h1, N_PIXELS)]
    layers = [[torch.rand(*shape) for shape in ((BATCH, i), (o, i), (BATCH, o), (BATCH, o), (o, i), (BATCH, i))] for i, o in sizes]
    for _ in range(-(-len(images) // BATCH)):
        for n, (x, w, g, a, gw, gx) in enumerate(layers):
            torch.mm(x, w.T, out=a)
            torch.mm(g.T, x, out=gw)
            if n: torch.mm(g, w, out=gx)                             # the image needs no gradient


def pythae_trainer(images, labels):
    "pythae's BaseTrainer with our layers; its VAE has no labels, so its decoder is ten inputs narrower."
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    logging.disable(logging.CRITICAL)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = VAE().encoder
        def forward(self, x):
            mu, logvar = self.net(x.flatten(1))
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            h1, h2 = HIDDEN
            self.net = torch.nn.Sequential(torch.nn.Linear(LATENT_DIM, h2), torch.nn.ReLU(), torch.nn.Linear(h2, h1), torch.nn.ReLU(),
                                           torch.nn.Linear(h1, N_PIXELS), torch.nn.Sigmoid())
        def forward(self, z): return ModelOutput(reconstruction=self.net(z).view(-1, 1, 28, 28))

    with tempfile.TemporaryDirectory() as folder:
        model = PythaeVAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT_DIM, reconstruction_loss='bce'), Encoder(), Decoder())
        config = BaseTrainerConfig(output_dir=folder, num_epochs=1, learning_rate=1e-3, per_device_train_batch_size=BATCH, no_cuda=True)
        trainer = BaseTrainer(model, BaseDataset(images[:, None] / 255, labels), training_config=config)
        trainer.prepare_training()
        pythae_trainer.seconds = seconds(lambda: trainer.train_step(1))


def main(rounds: int, out: Path | None) -> None:
    images, labels = load_mnist()
    measured = {}
    def note(name, s): measured.setdefault(name, []).append(s)
    start_up = None
    for _ in range(rounds):
        wall = seconds(lambda: note('ours', statistics.median(row['seconds'] for row in
                       train(images, labels, epochs=3, device='cpu', progress=False)[1])))
        start_up = min(start_up or wall, wall - 3 * measured['ours'][-1])
        note('usual loop', seconds(lambda: usual_loop(images, labels)))
        note('matrix products alone', seconds(lambda: floor(images, labels)))
        try:
            pythae_trainer(images, labels)
            note("pythae's trainer", pythae_trainer.seconds)
        except ModuleNotFoundError: pass
    medians = {name: statistics.median(s) for name, s in measured.items()}
    ours = medians['ours']
    print(f"{'one epoch on the CPU':24} {'times ours':>10} {'seconds':>8}")
    for name, s in sorted(medians.items(), key=lambda item: -item[1]): print(f'{name:24} {s / ours:10.2f} {s:8.2f}')
    print(f'start-up of ours: {max(start_up, 0):.2f} s, once. Medians of {rounds} rounds; '
          f'{torch.get_num_threads()} threads, {platform.machine()}, PyTorch {torch.__version__}.')
    if out: out.write_text(json.dumps(dict(seconds=medians, rounds=rounds, threads=torch.get_num_threads(), machine=platform.machine(),
                                           cores=os.cpu_count(), torch=torch.__version__), indent=1) + '\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, help='file for the figures, JSON')
    args = parser.parse_args()
    main(args.rounds, args.out)
