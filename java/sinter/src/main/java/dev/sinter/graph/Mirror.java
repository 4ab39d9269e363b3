package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_stream;

/**
 * A tensor and its copy on the host, which is written to the device before a run or read back after
 * it.
 */
record Mirror(Tensor tensor, HostBuffer host) {
  Mirror(Device device, Tensor tensor) {
    this(tensor, new HostBuffer(device, tensor.bytes()));
  }

  int upload(sn_stream stream) {
    return sinter.sn_write(stream, tensor.address(), host.address(), tensor.bytes());
  }

  int download(sn_stream stream) {
    return sinter.sn_read(stream, tensor.address(), host.address(), tensor.bytes());
  }
}
