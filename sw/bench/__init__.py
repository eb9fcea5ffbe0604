"""Benches: a workload on the RTL with the reference memory, every byte compared with the golden model.

`operators.py`: matrix products and attention; `feedforward.py`: a block with pruned neurons; `models.py`: whole models by name,
`zoo.py` those with random weights; `table.py`: all rows of the table in the README; `sizes.py`, `lanes.py`: `scripts/silicon`.
"""

from weft.bench.feedforward import bench_ffn
from weft.bench.models import MODELS, bench_model
from weft.bench.operators import bench_attention, bench_gemm, bench_mha

__all__ = ["MODELS", "bench_attention", "bench_ffn", "bench_gemm", "bench_mha", "bench_model"]
