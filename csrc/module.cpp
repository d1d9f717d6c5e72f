// Python module _C: how this library was built, and its counters. Importing it registers the ops.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cpu/multiversion.h"
#include "ops/counters.h"
#include "ops/huge_pages.h"

#define SX_TEXT_(x) #x
#define SX_TEXT(x) SX_TEXT_(x)

namespace py = pybind11;

namespace {

py::dict build_info() {
  py::dict info;
  info["version"] = SX_TEXT(SX_VERSION);
  info["torch_target"] = SX_TEXT(SX_TORCH_TARGET);
  info["torch_built_with"] = SX_TEXT(SX_TORCH_BUILT_WITH);
  info["compiler"] = "g++ " __VERSION__;
#if defined(SX_WITH_CUDA)
  info["cuda"] = SX_TEXT(SX_CUDA_VERSION);
  info["cuda_archs"] = SX_TEXT(SX_CUDA_ARCHS);
#else
  info["cuda"] = py::none();
  info["cuda_archs"] = "";
#endif
  info["cpu_kernels"] = saliency_ext::cpu_has_avx2() ? "avx2" : "baseline";
  return info;
}

py::dict counters() {
  py::dict result;
  for (const auto* op = saliency_ext::ops::OpCounter::last(); op != nullptr; op = op->next()) {
    if (op->launches() == 0) continue;
    py::dict entry;
    entry["launches"] = op->launches();
    entry["threads"] = op->threads();
    result[py::str(op->name())] = entry;
  }
  return result;
}

void reset_counters() {
  for (auto* op = saliency_ext::ops::OpCounter::last(); op != nullptr; op = op->next()) op->reset();
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of saliency_ext: importing this module registers torch.ops.saliency_ext.";
  m.def("build_info", &build_info, "How the library was built: versions, compiler, CUDA archs, CPU kernels in use.");
  m.def("counters", &counters, "Per op: kernel launches since the last reset, and threads that took part in the last CPU run.");
  m.def(
      "prefer_huge_pages",
      [](uintptr_t address, int64_t bytes) { saliency_ext::prefer_huge_pages(reinterpret_cast<void*>(address), bytes); },
      "Asks for large pages under memory just allocated and not yet written (a hint; nothing happens below 4 MiB).");
  m.def("reset_counters", &reset_counters, "Sets all counters to zero.");
}
