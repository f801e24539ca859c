// What NVTX loads in place of a profiler (NVTX_INJECTION64_PATH): writes what it is told of to the
// file that PINION_NVTX_LOG names, a line for each.

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include <nvtx3/nvToolsExt.h>

namespace {

constexpr nvtxRangeId_t kRange = 4711;

// Whatever is made of it has the domain's name.
struct Domain {
  std::string name;
};

std::string name_of(nvtxDomainHandle_t domain) {
  return reinterpret_cast<const Domain*>(domain)->name;
}

void write_line(const std::string& text) {
  std::ofstream(std::getenv("PINION_NVTX_LOG"), std::ios::app) << text << '\n';
}

std::string words_of(const nvtxEventAttributes_t& attributes) {
  const std::string payload = attributes.payloadType == NVTX_PAYLOAD_TYPE_UNSIGNED_INT64
                                  ? std::to_string(attributes.payload.ullValue)
                                  : "none";
  return std::string(attributes.message.ascii) + ", payload " + payload;
}

nvtxDomainHandle_t create_domain(const char* name) {
  return reinterpret_cast<nvtxDomainHandle_t>(new Domain{name});
}
void destroy_domain(nvtxDomainHandle_t domain) {
  delete reinterpret_cast<const Domain*>(domain);
}
nvtxRangeId_t start(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* attributes) {
  write_line(name_of(domain) + " start: " + words_of(*attributes));
  return kRange;
}
void end(nvtxDomainHandle_t domain, nvtxRangeId_t range) {
  write_line(name_of(domain) + " end: " + std::to_string(range));
}
int push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* attributes) {
  write_line(name_of(domain) + " push: " + words_of(*attributes));
  return 0;
}
int pop(nvtxDomainHandle_t domain) {
  write_line(name_of(domain) + " pop");
  return 0;
}

template <class Function>
void put(NvtxFunctionTable table, unsigned index, Function function) {
  *table[index] = reinterpret_cast<NvtxFunctionPointer>(function);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(
    NvtxGetExportTableFunc_t get_table) {
  const auto* const callbacks =
      static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) {
    return 0;
  }
  put(table, NVTX_CBID_CORE2_DomainCreateA, create_domain);
  put(table, NVTX_CBID_CORE2_DomainDestroy, destroy_domain);
  put(table, NVTX_CBID_CORE2_DomainRangeStartEx, start);
  put(table, NVTX_CBID_CORE2_DomainRangeEnd, end);
  put(table, NVTX_CBID_CORE2_DomainRangePushEx, push);
  put(table, NVTX_CBID_CORE2_DomainRangePop, pop);
  return 1;
}
