#pragma once
// Marks element maths as usable on the host and, under nvcc, on the device. SX_UNROLL: small arrays stay in registers
// only where every index is known at compile time.
#ifdef __CUDACC__
#define SX_HD __host__ __device__ __forceinline__
#define SX_UNROLL _Pragma("unroll")
#else
#define SX_HD inline __attribute__((always_inline))
#define SX_UNROLL _Pragma("GCC unroll 16")
#endif
