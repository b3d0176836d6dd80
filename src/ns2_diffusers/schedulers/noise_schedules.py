"""The variance-preserving noise that all schedulers here share: its schedules, and its level at any time."""

import inspect
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from ..untrusted import check_config
from .interchange import check_supported, complete_config

PREDICTION_TYPES = ("sample", "v_prediction", "epsilon")
BETA_SCHEDULES = ("linear", "cosine", "sigmoid", "scaled_linear", "squaredcos_cap_v2")

# Share of the signal's power that the paper's linear schedule leaves at t = 1: exp(-(0.05 + 20) / 2), about 4.4e-5.
_TERMINAL_ALPHA_BAR = math.exp(-10.025)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _sigmoid_alpha_bar(t: float) -> float:
    start, end = _sigmoid(-3.0), _sigmoid(3.0)
    return (end - _sigmoid(6.0 * t - 3.0)) / (end - start)


# Signal power ᾱ(t) of the schedules of lucidrains/naturalspeech2-pytorch, from 1 at t = 0 to 0 at t = 1
# (Ting Chen, arXiv 2301.10972, section 2.2; its defaults).
_ALPHA_BARS = {"cosine": lambda t: math.cos(t * math.pi / 2) ** 2, "sigmoid": _sigmoid_alpha_bar}


def resolve_trained_betas(
    beta_schedule: str, num_train_timesteps: int, trained_betas: list[float] | None
) -> list[float] | None:
    """The `trained_betas` that a diffusers scheduler needs to follow `beta_schedule`.

    `cosine` and `sigmoid` are unknown to diffusers (its own `sigmoid` is another curve), so they are passed as a
    table. Both would end without any signal, where `epsilon` cannot be converted to data and diffusers' σ/α
    overflows half precision. Scaling them to the paper's final signal level keeps their shape and makes the last
    step finite.

    Args:
        beta_schedule: one of `BETA_SCHEDULES`; ignored if `trained_betas` is given.
        num_train_timesteps: number of betas.
        trained_betas: a table that is already there, such as one from a saved config.

    Returns:
        `num_train_timesteps` floats, or None where diffusers builds the schedule from its name.

    Raises:
        ValueError: for an unknown schedule, or a table of another length.
    """
    if trained_betas is not None:
        if len(trained_betas) != num_train_timesteps:
            raise ValueError(
                f"`trained_betas` has {len(trained_betas)} values but `num_train_timesteps` is"
                f" {num_train_timesteps}: give one beta for every training timestep."
            )
        return trained_betas
    if beta_schedule not in BETA_SCHEDULES:
        raise ValueError(
            f"`beta_schedule` is {beta_schedule!r}; it must be one of {', '.join(BETA_SCHEDULES)}."
            " Any other schedule can be given as `trained_betas`."
        )
    if beta_schedule not in _ALPHA_BARS:
        return None
    curve = _ALPHA_BARS[beta_schedule]
    alpha_bars = [
        _TERMINAL_ALPHA_BAR + (1 - _TERMINAL_ALPHA_BAR) * curve(k / num_train_timesteps)
        for k in range(num_train_timesteps + 1)
    ]
    return [1 - now / before for before, now in zip(alpha_bars[:-1], alpha_bars[1:], strict=True)]


def interpolate(table: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Read a table whose first entry is timestep -1 (clean data) at float timesteps; exact at integers."""
    position = timesteps + 1
    below = position.floor().clamp(max=len(table) - 2).long()
    return torch.lerp(table[below], table[below + 1], position - below)


class VariancePreservingMixin:
    """Signal and noise levels at any timestep, and the temperature: what all our schedulers have in common.

    z_t = α z_0 + σ ε with α² = exp(-∫β) and σ² = 1 - α² (NaturalSpeech 2, section 3.2). An integer timestep k
    in [0, `num_train_timesteps`) is the continuous time t = (k + 1) / `num_train_timesteps`; a float one lies
    between its neighbours, its ∫β = -log ᾱ interpolated linearly, and -1 is clean data. Timesteps may be a
    number, a tensor of one, or one for each item of the batch, on any device. Arithmetic is float32 (float64
    for float64 samples); results come back in the sample's dtype.

    Arguments that all schedulers share:
        num_train_timesteps (`int`, defaults to 1000): training timesteps.
        beta_start, beta_end (`float`, default to 5e-5 and 0.02): ends of `linear`: the paper's 0.05 and 20,
            over 1000.
        beta_schedule (`str`, defaults to `"linear"`): `linear` is the paper's; `cosine` and `sigmoid` are
            those of lucidrains/naturalspeech2-pytorch; diffusers' `scaled_linear` and `squaredcos_cap_v2`
            work as well.
        trained_betas (`list[float]`, *optional*): the schedule itself, `num_train_timesteps` values. `cosine`
            and `sigmoid` fill it in, which is how diffusers' own schedulers come to follow them.
        prediction_type (`str`, defaults to `"sample"`): what the denoiser predicts: `sample` is z_0 (the
            paper), `v_prediction` is α ε - σ z_0, `epsilon` is ε.
        clip_sample (`bool`, defaults to False), clip_sample_range (`float`, defaults to 1.0): clamp the
            predicted z_0 to ± this range. Latents have no natural range, hence off.
        temperature (`float`, defaults to 1.44): z_T is drawn from N(0, I / temperature), so that
            `init_noise_sigma` is 1 / √temperature. A pipeline scales the noise itself for another temperature.
    """

    # Attributes of the scheduler that uses this mixin.
    config: Any
    timesteps: torch.Tensor
    num_inference_steps: int | None

    # The timestep after the last one: clean data.
    _final_timestep = -1

    @classmethod
    def from_config(cls, config=None, return_unused_kwargs=False, **kwargs):
        """Make a scheduler from the config of any of diffusers' or of ours, which means here what it means there.

        diffusers' own `from_config` replaces what the other class left at its defaults by the defaults of this one:
        `epsilon` by `sample`, and betas, spacing and clipping as well. Here the values of the config are kept.

        Args:
            config: `scheduler.config`, or a dict of a `scheduler_config.json`.
            return_unused_kwargs, kwargs: as in diffusers; `kwargs` replace values of the config.

        Raises:
            ValueError: for options that no scheduler here implements: `thresholding`, `rescale_betas_zero_snr`,
                `use_flow_sigmas`, continuous timesteps, and learned or (DDPM) large variances; for sizes that no
                scheduler has.
        """
        if isinstance(config, dict):
            # diffusers' own `DiffusionPipeline.from_pretrained` comes here with whatever a file says.
            check_config(config, cls.__name__)
            config = complete_config(config)
            check_supported({**config, **kwargs}, cls)
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def _finish_init(self):
        if self.config.prediction_type not in PREDICTION_TYPES:
            raise ValueError(
                f"`prediction_type` is {self.config.prediction_type!r};"
                f" it must be one of {', '.join(PREDICTION_TYPES)}."
            )
        # Models of which only the shapes are wanted are made on the meta device, which has no values.
        if self.betas.device.type != "meta" and not ((self.betas > 0) & (self.betas < 1)).all():
            raise ValueError(
                f"The betas go from {self.betas.min()} to {self.betas.max()}; each must lie above 0 and below 1, so"
                " that every timestep has some noise and some signal."
            )
        integrated_beta = -torch.log1p(-self.betas.double()).cumsum(0)
        self._integrated_beta_table = torch.cat([integrated_beta.new_zeros(1), integrated_beta]).float()
        if not 0 < self.config.temperature < math.inf:
            raise ValueError(
                f"`temperature` is {self.config.temperature}; give a positive number, such as the 1.44 of the paper."
            )
        self.init_noise_sigma = self.config.temperature**-0.5
        self._offer_config_to_other_classes()

    def _offer_config_to_other_classes(self):
        """Make `Other.from_config(self.config)` keep the values of this config.

        diffusers does not pass on values that were left at their defaults, as if every class had the same
        defaults. The defaults here are the paper's, so all of them must be passed. Only values that no class of
        diffusers knows are left out while they are at their defaults, because each swap would warn of them.
        """
        signature = inspect.signature(type(self).__init__).parameters
        ours_alone = [
            name
            for name in ("temperature", "solver")
            if name in signature and self.config[name] == signature[name].default
        ]
        self.register_to_config(_use_default_values=ours_alone)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | torch.Tensor | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
    ):
        """Set the timesteps of a generation, most noise first. Exactly one of the three arguments must be given.

        Args:
            num_inference_steps: 1 to `num_train_timesteps`, with the spacing of `timestep_spacing`.
            device: device of `timesteps`.
            timesteps: timesteps to use instead, integers or floats in [0, `num_train_timesteps` - 1].
            sigmas: noise levels σ / α to use instead. A final 0, as in lists for diffusers' schedulers, is dropped,
                because the last step ends there anyway.

        Raises:
            TypeError: for a number of steps that is no integer.
            ValueError: for none or several of the three, a number of steps outside its range, or timesteps or
                sigmas that do not fall or lie outside the range of training.
        """
        custom = self._custom_timesteps(num_inference_steps, timesteps, sigmas)
        if custom is not None:
            self.timesteps, self.num_inference_steps = custom.to(device), len(custom)
            return
        self._check_num_inference_steps(num_inference_steps, self.config.num_train_timesteps)
        super().set_timesteps(num_inference_steps, device)  # type: ignore[misc]
        # Rounding in diffusers' trailing spacing adds a timestep -1 for some counts, 61 and 103 among them.
        self.timesteps = self.timesteps[:num_inference_steps]
        if self.timesteps[0] >= self.config.num_train_timesteps:
            raise ValueError(
                f"{num_inference_steps} steps of spacing {self.config.timestep_spacing!r} with `steps_offset`"
                f" {self.config.steps_offset} begin at timestep {self.timesteps[0]}, beyond the last of training,"
                f" {self.config.num_train_timesteps - 1}: take fewer steps, or no offset."
            )

    def _custom_timesteps(self, num_inference_steps, timesteps, sigmas) -> torch.Tensor | None:
        """The timesteps that were given, by themselves or as noise levels, on the CPU; None for a number of them."""
        given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps, "sigmas": sigmas}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            found = " and ".join(f"`{name}`" for name in given) or "none of them"
            raise ValueError(f"Give one of `num_inference_steps`, `timesteps` and `sigmas`; {found} was given.")
        if num_inference_steps is not None:
            return None
        if sigmas is not None:
            timesteps = self._timesteps_of_sigmas(_as_list_tensor(sigmas, "sigmas").double())
        timesteps = _as_list_tensor(timesteps, "timesteps")
        timesteps = timesteps.float() if timesteps.is_floating_point() else timesteps.long()
        last = self.config.num_train_timesteps - 1
        if not ((timesteps >= 0) & (timesteps <= last)).all():
            raise ValueError(f"`timesteps` are {timesteps.tolist()}; they must lie in [0, {last}].")
        if not (timesteps[1:] < timesteps[:-1]).all():
            name = next(iter(given))
            raise ValueError(f"`{name}` are {list(given[name])}; they must fall from each to the next.")
        return timesteps

    def _timesteps_of_sigmas(self, sigmas: torch.Tensor) -> torch.Tensor:
        """Float timesteps of noise levels σ / α, float64."""
        if len(sigmas) > 1 and sigmas[-1] == 0:
            sigmas = sigmas[:-1]
        last = self.config.num_train_timesteps - 1
        least, most = torch.expm1(self._integrated_beta(torch.tensor([0.0, last])).double()).sqrt().tolist()
        # Levels that were rounded, as published lists are, may lie beyond the ends by a little.
        if not ((sigmas >= 0.999 * least) & (sigmas <= 1.001 * most)).all():
            raise ValueError(
                f"`sigmas` are {sigmas.tolist()}; they must lie in [{least:.4g}, {most:.4g}], the σ / α of training."
            )
        return self._timesteps_of_integrated_beta(torch.log1p(sigmas**2)).clamp(0, last)

    def _timesteps_of_integrated_beta(self, integrated_beta: torch.Tensor) -> torch.Tensor:
        """The inverse of `_integrated_beta`, float64."""
        table = self._integrated_beta_table.double().cpu().numpy()
        return torch.from_numpy(np.interp(integrated_beta.numpy(), table, np.arange(len(table)) - 1.0))

    def _check_num_inference_steps(self, num_inference_steps: Any, most: int, reason: str = ""):
        if not isinstance(num_inference_steps, numbers.Integral):
            raise TypeError(f"`num_inference_steps` is {num_inference_steps!r}; it must be an integer.")
        if not 1 <= int(num_inference_steps) <= most:
            raise ValueError(
                f"`num_inference_steps` is {num_inference_steps}; {type(self).__name__} takes 1 to {most}"
                f" steps with {self.config.num_train_timesteps} training timesteps{reason}."
            )

    def scale_model_input(self, sample: torch.Tensor, timestep=None) -> torch.Tensor:
        """The sample as it is: a variance-preserving z_t needs no scaling. For diffusers' interface."""
        return sample

    def previous_timestep(self, timestep: float | torch.Tensor) -> torch.Tensor:
        """The timestep that follows `timestep` in `timesteps`; -1 (clean data) after the last one."""
        timestep = _check_single(torch.as_tensor(timestep))
        # Found without asking the device for a value, which would make the CPU wait at every step.
        timesteps = self.timesteps.to(timestep.device)
        return torch.where(timesteps < timestep, timesteps, self._final_timestep).max()

    def start_of_step(self, index: int) -> torch.Tensor:
        """The timestep, (1,), of the noise that latents have before the denoiser is called at `timesteps[index]`."""
        return self.timesteps[index : index + 1]

    def _integrated_beta(self, timesteps: torch.Tensor) -> torch.Tensor:
        """∫β from 0 to the time of `timesteps`, which is -log ᾱ."""
        self._integrated_beta_table = self._integrated_beta_table.to(timesteps.device)
        return interpolate(self._integrated_beta_table, timesteps)

    def _as_timesteps(self, timesteps, device=None) -> torch.Tensor:
        timesteps = torch.as_tensor(timesteps, device=device).float()
        most = self.config.num_train_timesteps
        # On a GPU this would wait for the device; training and the samplers' own grids are in range anyway.
        if timesteps.device.type == "cpu" and not ((timesteps >= -1) & (timesteps < most)).all():
            raise ValueError(f"`timesteps` are {timesteps.tolist()}; they must lie in [0, {most}).")
        return timesteps

    def _per_item(self, timesteps, sample: torch.Tensor) -> torch.Tensor:
        """∫β for `sample`, (B, 1, 1) or (1, 1, 1): having dimensions, float32 promotes half precision."""
        timesteps = self._as_timesteps(timesteps, sample.device)
        if timesteps.numel() not in (1, len(sample)):
            raise ValueError(
                f"There are {timesteps.numel()} timesteps for a batch of {len(sample)}:"
                " give one, or one for each item."
            )
        return self._integrated_beta(timesteps).reshape(-1, *[1] * (sample.ndim - 1))

    def _item_alpha_sigma(self, timesteps, sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _alpha_sigma(self._per_item(timesteps, sample))

    def alpha_sigma(self, timesteps: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and noise levels (α, σ), α² + σ² = 1: float32, of the timesteps' shape.

        Raises:
            ValueError: for timesteps outside [0, `num_train_timesteps`) (checked on the CPU only).
        """
        return _alpha_sigma(self._integrated_beta(self._as_timesteps(timesteps)))

    def signal_to_noise_ratio(self, timesteps: float | torch.Tensor) -> torch.Tensor:
        """α² / σ², as min-SNR loss weights need it: float32, of the timesteps' shape."""
        return 1 / torch.expm1(self._integrated_beta(self._as_timesteps(timesteps)))

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: float | torch.Tensor
    ) -> torch.Tensor:
        """z_t = α z_0 + σ ε (NaturalSpeech 2, section 3.2).

        Args:
            original_samples: z_0, (B, C, T), any float dtype.
            noise: ε, the same shape.
            timesteps: one, or (B,); integers or floats.

        Returns:
            (B, C, T) in the dtype of `original_samples`.

        Raises:
            ValueError: for timesteps out of range, or as many as fit neither one nor the batch.
        """
        alpha, sigma = self._item_alpha_sigma(timesteps, original_samples)
        return (alpha * original_samples + sigma * noise).to(original_samples.dtype)

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: float | torch.Tensor) -> torch.Tensor:
        """v = α ε - σ z_0, the target of `v_prediction` (arXiv 2202.00512, section 4).

        Args, result and errors are those of `add_noise`; `sample` is z_0.
        """
        alpha, sigma = self._item_alpha_sigma(timesteps, sample)
        return (alpha * noise - sigma * sample).to(sample.dtype)

    def predict_original_sample(
        self,
        model_output: torch.Tensor,
        timesteps: float | torch.Tensor,
        sample: torch.Tensor,
        clip: bool = True,
    ) -> torch.Tensor:
        """ẑ_0 from what the denoiser said of z_t (`sample`) under the config's `prediction_type`.

        Args:
            model_output: (B, C, T).
            timesteps: one, or (B,).
            sample: z_t, (B, C, T).
            clip: whether `clip_sample` of the config applies.

        Returns:
            (B, C, T), float32 at least: half precision would cost `epsilon` all its digits where α is small.

        Raises:
            ValueError: if the shapes differ, or for timesteps as in `add_noise`.
        """
        _check_same_shape(model_output=model_output, sample=sample)
        alpha, sigma = self._item_alpha_sigma(timesteps, sample)
        if self.config.prediction_type == "epsilon":
            original = (sample - sigma * model_output) / alpha
        elif self.config.prediction_type == "v_prediction":
            original = alpha * sample - sigma * model_output
        else:
            original = model_output.to(torch.promote_types(model_output.dtype, torch.float32))
        return self._clip(original) if clip else original

    def _clip(self, original: torch.Tensor) -> torch.Tensor:
        if not self.config.clip_sample:
            return original
        return original.clamp(-self.config.clip_sample_range, self.config.clip_sample_range)

    def model_output_for(
        self, original_samples: torch.Tensor, timesteps: float | torch.Tensor, sample: torch.Tensor
    ) -> torch.Tensor:
        """The model output at z_t (`sample`) for which ẑ_0 is `original_samples`.

        The inverse of `predict_original_sample` without clipping. Distillation uses it to turn a teacher's ẑ_0
        into the student's training target.

        Args:
            original_samples: ẑ_0, (B, C, T).
            timesteps: one, or (B,); above -1, because clean data contain no noise to predict.
            sample: z_t, (B, C, T).

        Returns:
            (B, C, T), float32 at least.

        Raises:
            ValueError: if the shapes differ, or for timesteps as in `add_noise`.
        """
        _check_same_shape(original_samples=original_samples, sample=sample)
        alpha, sigma = self._item_alpha_sigma(timesteps, sample)
        if self.config.prediction_type == "epsilon":
            return (sample - alpha * original_samples) / sigma
        if self.config.prediction_type == "v_prediction":
            return (alpha * sample - original_samples) / sigma
        return original_samples.to(torch.promote_types(original_samples.dtype, torch.float32))

    def training_target(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: float | torch.Tensor
    ) -> torch.Tensor:
        """The training target at z_t = α z_0 + σ ε under the config's `prediction_type`.

        Args, result and errors are those of `add_noise`.
        """
        if self.config.prediction_type == "epsilon":
            return noise
        if self.config.prediction_type == "v_prediction":
            return self.get_velocity(original_samples, noise, timesteps)
        return original_samples

    def _draw_noise(self, sample: torch.Tensor, generator, variance_noise: torch.Tensor | None) -> torch.Tensor:
        if variance_noise is not None:
            if variance_noise.shape != sample.shape:
                raise ValueError(
                    f"`variance_noise` is {tuple(variance_noise.shape)};"
                    f" it must have the sample's shape, {tuple(sample.shape)}."
                )
            return variance_noise
        if isinstance(generator, list) and len(generator) != len(sample):
            raise ValueError(
                f"There are {len(generator)} generators for a batch of {len(sample)}: give one, or one for each item."
            )
        return randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=torch.float32)


def _alpha_sigma(integrated_beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.exp(-integrated_beta / 2), torch.sqrt(-torch.expm1(-integrated_beta))


def _as_list_tensor(values, name: str) -> torch.Tensor:
    """A list of numbers as a tensor (N,) on the CPU."""
    values = torch.as_tensor(values, device="cpu")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"`{name}` has shape {tuple(values.shape)}; it must be a list of at least one number.")
    return values


def _check_single(timestep: torch.Tensor) -> torch.Tensor:
    if timestep.numel() != 1:
        raise ValueError(f"A step is taken at one timestep for the whole batch, not {timestep.numel()} of them.")
    return timestep


def _check_same_shape(**tensors: torch.Tensor) -> None:
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = " but ".join(f"`{name}` is {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"{shapes}: they must have the same shape.")


def squared_error_ratio(snr: torch.Tensor, prediction_type: str) -> torch.Tensor:
    """Squared error of a prediction divided by the squared error of the ẑ_0 that it implies.

    An error e of ẑ_0 is an error α e / σ of ε and e / σ of v (arXiv 2202.00512, section 4), so the ratio is 1 for
    `sample`, SNR for `epsilon` and SNR + 1 for `v_prediction`. A loss weight on errors of ẑ_0 is divided by it.

    Args:
        snr: α² / σ², any shape.
        prediction_type: one of `PREDICTION_TYPES`.

    Raises:
        ValueError: for another prediction type.
    """
    ratios = {"sample": torch.ones_like(snr), "v_prediction": snr + 1, "epsilon": snr}
    if prediction_type not in ratios:
        raise ValueError(f"`prediction_type` is {prediction_type!r}; it must be one of {', '.join(PREDICTION_TYPES)}.")
    return ratios[prediction_type]
