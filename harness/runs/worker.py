"""One run in a process of its own: the other side of launchers."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harness.errors import BenchError, Interrupted, in_one_line, of_a_file
from harness.files import read_text
from harness.runs.launchers import Task
from harness.text import any_terminal


def main(path: str) -> None:
    """Carry out the task in a JSON file; the record tells what became of it."""
    from rich.console import Console

    from harness.config.planning import use_plugins
    from harness.config.replanning import replan
    from harness.measure.environment import choose_device
    from harness.measure.own_time import own_time
    from harness.report.loggers import Logging, loggers
    from harness.report.outlasted import outlasted
    from harness.report.progress import Reporter
    from harness.runs.group import carry_out, check_devices, run_on_devices
    from harness.runs.workplace import Workplace
    from harness.training.distributed import asked, own_device, own_rank

    any_terminal()
    task = Task.model_validate_json(read_text(Path(path)))
    try:
        use_plugins(task.plugins)
        plan = replan(task.spec, task.data_root, task.config, task.init, task.teacher_init)
        if plan.spec.plugins != task.spec.plugins:
            raise BenchError(
                f"method {task.spec.method}: its code, {task.spec.plugins} when the sweep began, "
                f"is {plan.spec.plugins} now; start the sweep again."
            )
        if plan.spec.run_id != task.spec.run_id:
            domains = ((plan.spec.source, task.spec.source), (plan.spec.target, task.spec.target))
            moved = " and ".join(now.dataset for now, then in domains if now != then)
            changed = f"the data of {moved or 'its scenario'} has"
            if not moved and plan.spec.method_config != task.spec.method_config:
                changed = "its knobs, or a file that one of them names, have"
            raise BenchError(
                f"run {task.spec.run_id}: {changed} changed since it was planned; start it again."
            )
        report = Reporter(outlasted(Console(quiet=own_rank() > 0)))
        logging = Logging(loggers(task.log) if own_rank() == 0 else (), report.say)
        workplace = Workplace(
            task.results,
            choose_device(own_device(task.device)),
            report,
            keep_other_code=task.keep_other_code,
            logging=logging,
            side_by_side=task.side_by_side,
            role=task.role,
            steps_after=task.steps_after,
            clock=own_time if task.own_time else time.perf_counter,
        )
        devices = plan.spec.profile.devices
        check_devices(devices, workplace.device)
        with workplace.stop.listening():
            if devices > asked():
                sys.exit(run_on_devices(task, devices, workplace.stop))
            with logging.run(plan.spec, task.results):
                record = carry_out(plan, workplace, fresh=task.fresh)
                if record:
                    logging.scored(record)
    except Interrupted as end:
        sys.exit(end.exit_code)
    except (BenchError, OSError) as error:
        reason = of_a_file(error) if isinstance(error, OSError) else in_one_line(error)
        sys.exit(f"bench: {reason}")  # the log's last line


if __name__ == "__main__":
    main(sys.argv[1])
