"""Tell what a training would do before it starts."""

import itertools
import math
import time
from collections.abc import Callable

from data_collators import round_up_length
from mtl_bioner.training.run import Run
from mtl_bioner.training.teachers import plan_teachers, prepare_teacher
from mtl_bioner.training.trainer import MultiTaskTrainer


def check_optimizer(trainer: MultiTaskTrainer) -> None:
    """Raise ValueError if optimizer and scheduler, which Trainer makes only when training starts, can't be made."""
    try:
        trainer.create_optimizer_and_scheduler(num_training_steps=100)
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        optimizer, scheduler = trainer.args.optim.value, trainer.args.lr_scheduler_type.value
        message = f"--optim {optimizer}, --lr_scheduler_type {scheduler} or their arguments: {error}"
        raise ValueError(message) from error
    trainer.optimizer = trainer.lr_scheduler = None


def describe_plan(run: Run, trainer: MultiTaskTrainer, prepare: Callable, make_trainer: Callable) -> str:
    """Return what `--dry_run` shows: rows, steps and time of the training, and of its teachers' trainings."""
    if not run.args.do_train:
        return "nothing is trained"
    plans, minutes = [], 0.0
    for name, changes in plan_teachers(run).items():
        # In the student's folder, so that no further one is made.
        arguments = run.arguments.replace(**changes | {"output_dir": run.args.output_dir})
        plan, teacher_minutes = plan_training(make_trainer(prepare_teacher(arguments, run, prepare)))
        plans.append(f"teacher {name}\n{plan}\n")
        minutes += teacher_minutes
    plan, student_minutes = plan_training(trainer)
    total = f"all trainings: about {minutes + student_minutes:.1f} minutes without evaluation"
    return "\n".join([*plans, f"the model that they teach\n{plan}\n", total]) if plans else plan


def plan_training(trainer: MultiTaskTrainer) -> tuple[str, float]:
    """Return a text with rows, sub-words, steps and estimated time of the training; and this time, in minutes."""
    sampler, args = trainer.train_sampler, trainer.args
    lines = [f"{'task':24}{'rows':>10}{'sub-words':>12}{'drawn in an epoch':>19}"]
    for task, rows in sampler.rows.items():
        subwords = sum(sampler.lengths[row] for row in rows)
        lines.append(f"{trainer.task_names[task]:24}{len(rows):10,}{subwords:12,}{sampler.draws[task]:19,}")
    subwords = padded = 0
    for batch in sampler:
        lengths = [sampler.lengths[row] for row in batch]
        subwords += sum(lengths)
        padded += len(batch) * round_up_length(max(lengths), sampler.padded_lengths)
    updates = -(-len(sampler) // (args.world_size * args.gradient_accumulation_steps))
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * updates)
    rate = measure_training_rate(trainer)
    minutes = steps / updates * subwords / rate / 60
    lines += [
        f"an epoch: {updates:,} steps of {args.world_size} process(es), {subwords:,} sub-words, "
        f"{100 * (1 - subwords / padded):.1f} % padding",
        f"training: {steps:,} steps, about {minutes:.1f} minutes without evaluation, at {rate:,.0f} sub-words/s",
    ]
    return "\n".join(lines), minutes


def measure_training_rate(trainer: MultiTaskTrainer, batches: int = 4) -> float:
    """Return the sub-words a second of all processes, forward and backward, over some batches after a first one."""
    seconds, subwords = 0.0, 0
    trainer.model.train()
    for number, inputs in enumerate(itertools.islice(trainer.get_train_dataloader(), batches + 1)):
        start = time.perf_counter()
        with trainer.accelerator.autocast():  # which training wraps the model in
            loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        if number or len(trainer.train_sampler) == trainer.args.world_size:
            seconds += time.perf_counter() - start
            subwords += int(inputs["attention_mask"].sum())
    trainer.model.zero_grad()
    return subwords / seconds * trainer.args.world_size
