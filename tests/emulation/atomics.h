// atomics.h: atomic functions, fences, and loads and stores with a cache hint.
#pragma once

#include <type_traits>

#include "emulation/cluster.h"

namespace sn::emulation {

// What threads did before a fence is ordered before what others do after a later fence or atomic function: that is how
// a block finds out that it is the last and reads what the others wrote. The edge is one for all, which orders a little
// more than CUDA does, but nothing that no fence came after.
inline char fenceEdge = 0;

template <typename T>
using Same = std::type_identity_t<T>;

template <typename T>
concept Word = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, long long> ||
    std::is_same_v<T, unsigned long long> || std::is_same_v<T, unsigned long> || std::is_same_v<T, float> ||
    std::is_same_v<T, double>;

// Replaces *target by change(*target) in one step; returns what it was.
template <Word T, typename Change>
T atomicChange(T *target, Change &&change) {
  requireAligned("an atomic function", target, sizeof(T));
  T old, changed;
  __atomic_load(target, &old, __ATOMIC_RELAXED);
  do {
    changed = change(old);
  } while (!__atomic_compare_exchange(target, &old, &changed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  acquireFrom(&fenceEdge);
  return old;
}

template <typename T>
const T *checkedVector(const char *what, const T *address) {
  requireAligned(what, address, sizeof(T));
  return address;
}

}  // namespace sn::emulation

template <sn::emulation::Word T>
T atomicAdd(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old + value; });
}
template <sn::emulation::Word T>
T atomicSub(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old - value; });
}
template <sn::emulation::Word T>
T atomicExch(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T) { return value; });
}
template <sn::emulation::Word T>
T atomicCAS(T *target, sn::emulation::Same<T> expected, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old == expected ? value : old; });
}
template <sn::emulation::Word T>
T atomicMin(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return value < old ? value : old; });
}
template <sn::emulation::Word T>
T atomicMax(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old < value ? value : old; });
}
template <sn::emulation::Word T>
T atomicAnd(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old & value; });
}
template <sn::emulation::Word T>
T atomicOr(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old | value; });
}
template <sn::emulation::Word T>
T atomicXor(T *target, sn::emulation::Same<T> value) {
  return sn::emulation::atomicChange(target, [=](T old) { return old ^ value; });
}
inline unsigned atomicInc(unsigned *target, unsigned limit) {
  return sn::emulation::atomicChange(target, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned *target, unsigned limit) {
  return sn::emulation::atomicChange(target, [=](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

inline void __threadfence() {
  sn::emulation::releaseTo(&sn::emulation::fenceEdge);
  sn::emulation::acquireFrom(&sn::emulation::fenceEdge);
#if !defined(__SANITIZE_THREAD__)
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
inline void __threadfence_block() { __threadfence(); }
inline void __threadfence_system() { __threadfence(); }

template <typename T>
T __ldg(const T *address) {
  return *sn::emulation::checkedVector("__ldg", address);
}
template <typename T>
T __ldcg(const T *address) {
  return *sn::emulation::checkedVector("__ldcg", address);
}
template <typename T>
T __ldca(const T *address) {
  return *sn::emulation::checkedVector("__ldca", address);
}
template <typename T>
T __ldcs(const T *address) {
  return *sn::emulation::checkedVector("__ldcs", address);
}
template <typename T>
void __stcg(T *address, sn::emulation::Same<T> value) {
  sn::emulation::checkedVector("__stcg", address);
  *address = value;
}
template <typename T>
void __stcs(T *address, sn::emulation::Same<T> value) {
  sn::emulation::checkedVector("__stcs", address);
  *address = value;
}
template <typename T>
void __stwt(T *address, sn::emulation::Same<T> value) {
  sn::emulation::checkedVector("__stwt", address);
  *address = value;
}
