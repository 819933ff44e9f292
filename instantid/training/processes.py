"""Jobs in as many processes as asked for: each opens what it works with once, and tells how far it is."""

import multiprocessing
import queue
import signal
from collections.abc import Callable, Sequence
from typing import Any

import cv2

from ..errors import InstantIDError

OnNews = Callable[[Any], None]
Worker = Callable[[Any, OnNews], None]
"""(job, what to tell news to)."""


class ProcessDied(InstantIDError):
    """A process ended before its work was done."""


def work_through(
    jobs: Sequence[Any], open_worker: Callable[[], Worker], *, workers: int, on_news: OnNews
) -> None:
    """Do all jobs. Ctrl-C ends every process at once.

    Args:
        open_worker: called once in each process; with several of them it has to be a function of a module, or a
            `functools.partial` of one.
        on_news: called here with whatever workers tell.

    Raises:
        ProcessDied: of too little memory most of the time.
    """
    if workers == 1 or len(jobs) < 2:
        work = open_worker() if jobs else None
        for job in jobs:
            work(job, on_news)
        return
    context = multiprocessing.get_context("spawn")  # CUDA does not live through a fork
    todo, told = context.Queue(), context.Queue()
    count = min(workers, len(jobs))
    for job in [*jobs, *[None] * count]:
        todo.put(job)
    processes = [
        context.Process(target=_work, args=(open_worker, todo, told), daemon=True) for _ in range(count)
    ]
    try:
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes) or not told.empty():
            try:
                news = told.get(timeout=0.5)
            except queue.Empty:
                if dead := [process.exitcode for process in processes if process.exitcode]:
                    raise ProcessDied(
                        f"A process ended with {dead[0]}, often for want of memory. What is done is kept: the same "
                        "command goes on; fewer --workers need less memory."
                    ) from None
                continue
            if isinstance(news, InstantIDError):
                raise news
            on_news(news)
    finally:
        todo.cancel_join_thread()
        for process in processes:
            process.terminate()
            process.join()


def _work(
    open_worker: Callable[[], Worker], todo: multiprocessing.Queue, told: multiprocessing.Queue
) -> None:
    """Do jobs until a None comes, on one thread: there are as many processes as cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends this
    cv2.setNumThreads(1)
    try:
        work = open_worker()
        while (job := todo.get()) is not None:
            work(job, told.put)
    except InstantIDError as error:
        told.put(error)
