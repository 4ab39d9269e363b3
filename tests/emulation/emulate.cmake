# sn_emulate(target sources...): adds kernel files (.cu) to `target`, compiled for the host, where the emulation of CUDA
# runs them. To be called in the folder of CMake that made the target, and not where nvcc compiles the same files.
function(sn_emulate target)
  foreach(source ${ARGN})
    target_sources(${target} PRIVATE ${source})
    if(source MATCHES "\\.cu$")
      set_source_files_properties(${source} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
    endif()
  endforeach()
  target_include_directories(${target} PRIVATE
    ${CMAKE_SOURCE_DIR}/native ${CMAKE_SOURCE_DIR}/native/include ${CMAKE_SOURCE_DIR}/tests)
  # Kernels have pragmas for nvcc and look at the same memory as other types, as CUDA lets them.
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas -Wno-psabi -fno-strict-aliasing)
  target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
endfunction()
