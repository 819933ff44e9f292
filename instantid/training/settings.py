"""How a training run goes about it: steps, batch, rate, averaging, precision. The same for every stage."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from ..people import Frozen

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]


class Settings(Frozen):
    """Of one run. A run ends after `steps`, or pauses when `minutes` are over: the same command goes on."""

    steps: Count = Field(1000, description="Updates of the weights in the whole run.")
    minutes: Annotated[float, Gt(0)] = Field(
        1e9, description="Pause after so many; the schedule does not change."
    )
    batch: Count = Field(16, description="Examples at once, in each process.")
    accumulate: Count = Field(1, description="Batches that make one update.")
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    warmup: Annotated[int, Ge(0)] = Field(100, description="Steps in which the rate rises from 0.")
    cooldown: Share = Field(0.25, description="Last part of the run, in which the rate falls to 0 in a line.")
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Ge(0)] = 0.01
    clip: Annotated[float, Gt(0)] = Field(1.0, description="Largest norm of the gradient.")
    average: Share = Field(0.999, description="Decay of the moving average of the weights (EMA); 0: none.")
    precision: Literal["no", "auto", "bf16", "fp16"] = Field(
        "no", description="auto: bf16 where the processor or GPU computes in it, elsewhere no."
    )
    frozen: Literal["fp32", "bf16"] = Field(
        "fp32", description="What does not learn may be kept in half the memory; with precision bf16."
    )
    checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them: less memory, a third slower."
    )
    device: Literal["auto", "cpu"] = "auto"
    seed: Annotated[int, Ge(0)] = 0
    log_every: Count = 20
    sheet_every: Annotated[int, Ge(0)] = Field(500, description="Steps between sample sheets; 0: none.")
    save_minutes: Annotated[float, Gt(0)] = Field(5, description="Minutes between checkpoints.")
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="Where figures go beside log.jsonl."
    )

    @model_validator(mode="after")
    def _fitting(self) -> "Settings":
        if self.frozen == "bf16" and self.precision != "bf16":
            raise ValueError("frozen: bf16 wants precision: bf16, which meets it half-way")
        return self

    def rate(self, step: int) -> float:
        """Share of the learning rate at a step: up, level, then down in a line (Hägele et al. 2024, 2405.18392)."""
        cooling = self.steps * self.cooldown
        up = (step + 1) / self.warmup if step < self.warmup else 1.0
        return min(up, (self.steps - step) / cooling if cooling else 1.0, 1.0)
