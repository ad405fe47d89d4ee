"""What an exception of torch means: too little memory, a lost device, or anything else."""

from __future__ import annotations

import torch

# The CPU's allocator has no exception of its own, and neither have CUDA's libraries; their words have been the same
# since torch 1.x (c10/core/impl/alloc_cpu.cpp, aten/src/ATen/cuda/Exceptions.h).
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "_status_alloc_failed")
_DEVICE_LOST = ("cuda error", "cublas_status", "cudnn_status", "cudnn error", "nvml", "device-side assert")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at once could have succeeded."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Whether nothing can succeed in this process any more: a CUDA context does not survive an error of a kernel."""
    if is_out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _DEVICE_LOST)
