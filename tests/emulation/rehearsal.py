"""bench/gpu/lab without a GPU: that every stage which measures runs, in small, and what is said of one that fails; and that the
report judges as the targets say.

    python rehearsal.py BUILD
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

ROOT = pathlib.Path(__file__).resolve().parents[2]
GPU = ROOT / "bench/gpu"
BUILD = pathlib.Path(sys.argv.pop()).resolve()
STAGES = ("accuracy", "gemm", "attention", "memory", "training", "decode", "ablation")
sys.path.insert(0, str(GPU))
import report  # noqa: E402
import targets  # noqa: E402


def lab(build, out, *stages):
    return subprocess.run([GPU / "lab", "--emulate", "--build", build, "--out", out, *stages], capture_output=True, text=True)


def row(us, peer_us=None, **values):
    peers = [dict(name="peer", us=peer_us, low=peer_us, high=peer_us, note=None)] if peer_us else []
    return dict(bound="matrix", flops=1e9, bytes=1e6, ours=[dict(name="", us=us, low=us, high=us, note=None)], peers=peers,
                copy=1e12, peak=1e15, **values)


class Rehearsal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"

    def test_stages_write_results_that_say_they_are_none(self):
        run = lab(BUILD, self.out, *STAGES)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        for stage in STAGES:
            self.assertRegex(run.stdout, rf"\n{stage} +passed")
        content = json.loads((self.out / "results.json").read_text())
        for target in targets.TARGETS:
            measured = [name for name in target.rows if name in content["rows"]]
            self.assertTrue(measured or target.what.startswith(("attention", "decode attention")), target.what)
        self.assertIn("gpt2 up, cuBLASLt", content["ladder"])
        self.assertIn("training 124M, sm_90, tuned", content["ladder"])
        text = (self.out / "results.md").read_text()
        self.assertIn("emulated: no figure here means anything", text)
        self.assertNotIn("missed", text)
        xml.dom.minidom.parse(str(self.out / "results.svg"))
        kept = subprocess.run([sys.executable, GPU / "report.py", self.out / "results.json", "--into",
                               ROOT / "bench/results/rehearsal"], capture_output=True, text=True)
        self.assertEqual(kept.returncode, 1)
        self.assertIn("mean nothing", kept.stderr)

    def test_a_stage_that_fails_is_reported_and_the_next_one_runs(self):
        run = lab(self.out, self.out, "conformance", "memcheck")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stdout, r"\nconformance +FAILED")
        self.assertRegex(run.stdout, r"\nmemcheck +passed")
        self.assertIn("No such file", run.stderr)
        self.assertIn("No such file", (self.out / "lab.log").read_text())

    def test_a_row_that_fails_makes_its_stage_fail_after_the_others(self):
        # Memory for the one, not for the other.
        run = subprocess.run([sys.executable, GPU / "bench.py", "--tiny", "--only", "attention hd128,adamw", "--library",
                              BUILD / "libsinter.so", "--cuda", BUILD / "tests/emulation/libsinter_cuda_emulated.so", "attention",
                              "memory"], capture_output=True, text=True, env={**os.environ, "SN_EMULATION_MEMORY": "200000"})
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertRegex(run.stdout, r"attention hd128 causal 1024 FAILED: .*\nadamw: ")
        self.assertIn("failed: attention hd128 causal 1024\n", run.stderr)

    def test_unknown_stages_are_refused(self):
        run = lab(BUILD, self.out, "gem")
        self.assertEqual(run.returncode, 2)
        self.assertIn("Stages, in this order", run.stderr)


class Report(unittest.TestCase):
    def verdict(self, what, **rows):
        target = next(target for target in targets.TARGETS if target.what == what)
        return list(targets.judge(target, rows or {}))

    def test_ratio_is_the_peers_time_over_ours(self):
        (reached, must, distance), = self.verdict("gemm 4096³", **{"gemm 4096³": row(100, 110)})
        self.assertEqual((reached, must), ("1.10x", "≥ 1.00x"))
        self.assertAlmostEqual(distance, 0.1)

    def test_adamw_is_compared_by_the_byte(self):
        name = {"adamw": dict(row(100, 100, peer_bytes=28), bytes=30)}
        self.assertEqual(self.verdict("adamw", **name)[0][0], "1.07x")

    def test_less_is_better_where_time_is_the_target(self):
        self.assertAlmostEqual(self.verdict("decoding 124M, 1 x 128", **{"decoding 124M, 1 x 128": row(260)})[0][2], -0.5)

    def test_mean_and_least_of_many_shapes(self):
        rows = {name: row(100, 100) for name in targets.gpt2_shapes()}
        rows["gpt2 up"] = row(100, 90)
        mean, least = self.verdict("15 GPT-2 shapes, 65536 rows", **rows)
        self.assertEqual(mean[0], "0.99x")
        self.assertAlmostEqual(least[2], 0.9 / 0.95 - 1)

    def test_what_was_not_measured_is_not_judged(self):
        self.assertIsNone(self.verdict("gemm 4096³")[0][2])
        self.assertIsNone(self.verdict("gemm 4096³", **{"gemm 4096³": row(100)})[0][2])
        lines, words = report.targets_table({"gemm 4096³": row(100, 110), "gemm 8192³": row(100, 90)}, False)
        self.assertIn("1 of 2 targets", words)
        self.assertIn("+10.0% | met", lines[2])
        self.assertIn("-10.0% | **missed**", lines[3])
        self.assertIn("not measured", lines[4])

    def test_results_of_two_machines_do_not_mix(self):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for gpu in ("one", "two"):
                files.append(pathlib.Path(folder) / gpu)
                files[-1].write_text(json.dumps({"machine": {"gpu": gpu, "commit": "c", "emulated": False}}))
            with self.assertRaisesRegex(SystemExit, "gpu is two"):
                report.merged(files)


if __name__ == "__main__":
    unittest.main()
