#include "common/status.h"

#include <cstdarg>
#include <cstdio>

namespace sn {

namespace {
thread_local char message[512] = "no failure on this thread";
}

sn_status fail(sn_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return status;
}

}  // namespace sn

const char *sn_last_error(void) { return sn::message; }
