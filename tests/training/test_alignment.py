import pytest
import torch

from ns2_diffusers import PhonemeAligner
from ns2_diffusers.data.alignment_prior import alignment_priors
from ns2_diffusers.training.alignment import AlignmentObjective, align_batch
from ns2_diffusers.training.losses import latents_of


@pytest.fixture
def toy():
    """Utterances of four sounds, each with its own code and a length of 2 to 8 frames, between silences."""
    generator = torch.Generator().manual_seed(0)
    codebooks = torch.randn(1, 6, 8, generator=generator)

    def batch(size):
        ids, durations = [], []
        for _ in range(size):
            # Neighbours differ, because the boundary of two equal sounds is undefined.
            sounds = 1 + torch.randint(1, 4, (9,), generator=generator).cumsum(0) % 4
            ids.append(torch.cat([torch.tensor([0]), sounds, torch.tensor([5])]))
            durations.append(torch.randint(2, 9, (11,), generator=generator))
        ids, durations = torch.stack(ids), torch.stack(durations)
        frames = int(durations.sum(1).max())
        codes, f0 = torch.full((size, 1, frames), 5), torch.zeros(size, frames)
        for item in range(size):
            sounds = ids[item].repeat_interleave(durations[item])
            codes[item, 0, : len(sounds)] = sounds
            f0[item, : len(sounds)] = 100.0 * (sounds > 0) * (sounds < 5)
        frame_mask = torch.arange(frames) < durations.sum(1, keepdim=True)
        masks = {"frame_mask": frame_mask, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
        prior = alignment_priors([11] * size, [row[mask] for row, mask in zip(f0, frame_mask, strict=True)])
        return {"codes": codes, "input_ids": ids, **masks, "alignment_prior": prior}, durations

    return codebooks, batch


def boundary_error(found, wanted):
    return (found.cumsum(1) - wanted.cumsum(1)).abs().float().mean()


def test_an_aligner_learns_where_sounds_begin(toy):
    torch.manual_seed(0)
    codebooks, make_batch = toy
    sizes = {"hidden_size": 32, "attention_channels": 16, "frame_kernel_sizes": (3,), "dropout": 0.0}
    aligner = PhonemeAligner(vocab_size=6, feature_channels=8, **sizes)
    objective = AlignmentObjective(aligner, codebooks)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    batch, wanted = make_batch(8)
    before = boundary_error(objective.eval().align(batch), wanted)
    objective.train()
    for step in range(50):
        losses = objective(make_batch(8)[0])
        (losses["alignment"] + step / 50 * losses["binarization"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = boundary_error(objective.eval().align(batch), wanted)
    assert after < 0.5 < before


def test_latents_get_no_gradient_from_their_alignment(toy):
    codebooks, make_batch = toy
    batch, _ = make_batch(2)
    aligner = PhonemeAligner(vocab_size=6, feature_channels=8, hidden_size=8, attention_channels=4)
    latents = latents_of(batch["codes"], codebooks).requires_grad_()
    _, losses = align_batch(aligner, latents, batch)
    sum(losses.values()).backward()
    assert latents.grad is None
    assert all(parameter.grad.any() for parameter in aligner.parameters())
