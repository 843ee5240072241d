import asyncio
import threading

import pytest

from mage_server.run_api.pool import Pool, PoolClosedError, PoolFullError


class TestPool:
    def test_full_closed_withdrawn(self):
        async def scenario() -> None:
            pool = Pool(workers=1, queue=1)
            go, begun = threading.Event(), threading.Event()
            ran = []

            def work(name: str):
                def run(job):
                    begun.set()
                    go.wait(10)
                    ran.append(name)
                    job.resolve(name)

                return run

            first = pool.submit(work("first"))
            begun.wait(10)
            second = pool.submit(work("second"))
            with pytest.raises(PoolFullError):
                pool.submit(work("third"))
            assert not pool.cancel(first)
            assert pool.cancel(second)
            fourth = pool.submit(work("fourth"))
            go.set()
            assert await first.future == "first"
            assert await fourth.future == "fourth"
            pool.close()
            with pytest.raises(PoolClosedError):
                pool.submit(work("fifth"))
            assert pool.wait_idle(5)
            assert ran == ["first", "fourth"]

        asyncio.run(scenario())

    def test_a_thread_is_started_when_all_others_are_busy_and_the_last_one_goes_on(self):
        async def scenario() -> None:
            pool = Pool(workers=2, queue=8)
            go, names = threading.Event(), []

            def run(job):
                names.append(threading.current_thread().name)
                go.wait(10)
                job.resolve(None)

            jobs = [pool.submit(run) for _ in range(5)]
            go.set()
            await asyncio.gather(*(job.future for job in jobs))
            assert len(set(names)) == 2
            names.clear()
            for _ in range(5):
                assert pool.wait_idle(5)
                await pool.submit(run).future
            assert len(set(names)) == 1

        asyncio.run(scenario())

    def test_a_worker_survives_what_work_raises(self):
        async def scenario() -> None:
            pool = Pool(workers=1, queue=1)

            def fail(job):
                raise SystemExit(1)

            with pytest.raises(SystemExit):
                await pool.submit(fail).future
            assert await pool.submit(lambda job: job.resolve("fine")).future == "fine"

        asyncio.run(scenario())
