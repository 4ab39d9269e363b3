// symbol.h: a kernel's name from its address, out of the symbol table of the ELF file that it was loaded from: dladdr
// knows exported functions only, and kernels are not exported.
#pragma once

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace sn::emulation {

inline std::string demangled(const char *symbol) {
  int status = 0;
  char *text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : symbol;
  std::free(text);
  return name;
}

inline std::string functionName(const void *address) {
  const std::string unknown = "kernel";
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return unknown;
  std::ifstream file(info.dli_fname, std::ios::binary);
  std::vector<char> image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (image.size() < sizeof(ElfW(Ehdr))) return unknown;
  auto *header = reinterpret_cast<const ElfW(Ehdr) *>(image.data());
  auto *sections = reinterpret_cast<const ElfW(Shdr) *>(image.data() + header->e_shoff);
  auto offset = static_cast<uintptr_t>(static_cast<const char *>(address) - static_cast<const char *>(info.dli_fbase));
  // An executable that must be loaded at one place has addresses instead of offsets.
  if (header->e_type == ET_EXEC) offset = reinterpret_cast<uintptr_t>(address);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    auto *symbols = reinterpret_cast<const ElfW(Sym) *>(image.data() + sections[i].sh_offset);
    auto *names = image.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t k = 0; k < sections[i].sh_size / sizeof(ElfW(Sym)); ++k) {
      if (symbols[k].st_value == offset && (symbols[k].st_info & 0xf) == STT_FUNC) {
        return demangled(names + symbols[k].st_name);
      }
    }
  }
  return unknown;
}

// The same as it stands in the source: without its result, its parameters and the namespaces that all kernels share.
inline std::string shortName(const void *address) {
  std::string name = functionName(address);
  int open = 0;
  for (size_t i = name.size(); i > 0 && name.back() == ')'; --i) {
    open += name[i - 1] == ')' ? 1 : name[i - 1] == '(' ? -1 : 0;
    if (open == 0) name.resize(i - 1);
  }
  for (const char *part : {"(anonymous namespace)::", "sn::cuda::", "void "}) {
    for (size_t at; (at = name.find(part)) != std::string::npos;) name.erase(at, std::strlen(part));
  }
  return name;
}

}  // namespace sn::emulation
