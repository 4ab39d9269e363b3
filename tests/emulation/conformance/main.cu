// main.cu: runs all conformance tests and says which primitives are not what the PTX ISA says.
#include "conformance.h"

int main() {
  using namespace sn::conformance;
  copies();
  conversions();
  matrices();
  products();
  namedBarriers();
  if (capability() == 90) {
    matrixStores();
    tensorCopies();
    warpgroupProducts();
    overlappingKernels();
    clusters();
  }
  std::printf(failures() == 0 ? "all conform\n" : "%d do not conform\n", failures());
  return failures() == 0 ? 0 : 1;
}
