// table.h: the tables that the library gives to the dispatcher.
#pragma once

#include "common/operations.h"

namespace sn::cuda {

const Backend &backend();
const Operations &operations();

}  // namespace sn::cuda
