// status.cpp: the plugin's own sn::fail: the message goes to the library that loaded it, which answers sn_last_error.
#include "common/status.h"

#include <cstdarg>
#include <cstdio>

#include "cuda/plugin.h"

namespace sn {

namespace cuda {
SetMessage setMessage = nullptr;
}

sn_status fail(sn_status status, const char *format, ...) {
  char message[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  cuda::setMessage(message);
  return status;
}

}  // namespace sn
