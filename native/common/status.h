// status.h: a failure is a status plus one line for the thread that met it.
#pragma once

#include <sinter/sinter.h>

namespace sn {

// Sets the calling thread's message (printf format) and returns `status`.
__attribute__((format(printf, 2, 3))) sn_status fail(sn_status status, const char *format, ...);

}  // namespace sn
