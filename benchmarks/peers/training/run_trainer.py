# pyright: reportMissingImports=false
"""transformers' Trainer: fused AdamW, SDPA attention, nothing logged or saved while it trains: run_trainer.py TASK."""

import tempfile
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
from worker import Turns, read_task


class Rows(torch.utils.data.Dataset):
    """Rows that were tokenised before."""

    def __init__(self, ids: torch.Tensor) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._ids[number], "labels": self._ids[number]}


class Noting(Trainer):
    """Keeps the losses as tensors: no waiting, no log."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.noted: list[torch.Tensor] = []

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **named)
        self.noted.append(loss.detach())
        return loss


class Pausing(TrainerCallback):
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        control.should_training_stop = not self._turns.between_steps()

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        control.should_training_stop = not self._turns.between_steps()


def main() -> None:
    task = read_task()
    model = AutoModelForCausalLM.from_pretrained(
        task.model, local_files_only=True, dtype=torch.float32, attn_implementation="sdpa"
    )
    with tempfile.TemporaryDirectory(prefix="dizuo-bench-") as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=task.precision == "bfloat16",
            per_device_train_batch_size=task.batch,
            gradient_accumulation_steps=task.accumulate,
            max_steps=task.steps,
            optim="adamw_torch_fused",
            learning_rate=task.lr,
            lr_scheduler_type="constant",
            adam_beta1=task.betas[0],
            adam_beta2=task.betas[1],
            weight_decay=task.weight_decay,
            max_grad_norm=task.clip,
            train_sampling_strategy="sequential",
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=task.seed,
        )
        trainer = Noting(model=model, args=arguments, train_dataset=Rows(task.rows()))

        def losses() -> list[float]:
            parts = torch.stack(trainer.noted).view(-1, task.accumulate)
            return parts.sum(dim=1).tolist()  # the Trainer divides each by the targets of the whole step

        trainer.add_callback(Pausing(Turns(losses)))
        trainer.train()


if __name__ == "__main__":
    main()
