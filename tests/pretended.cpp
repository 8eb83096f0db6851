// A pretended accelerator for tests: a device of its own for torch (PrivateUse1), whose tensors lie in ordinary memory.
//
// Every operation is the CPU's, done on the same memory. As on CUDA, one that is given tensors of both devices is
// refused, except that a single number, or an index into a tensor of the device, may lie on the CPU.
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

using at::IValue;
using at::Tensor;
using c10::Storage;

constexpr auto DEVICE = c10::DeviceType::PrivateUse1;

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* place = bytes ? std::malloc(bytes) : nullptr;
    return {place, place, &std::free, c10::Device(DEVICE, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
} memory;

struct Guard final : c10::impl::NoOpDeviceGuardImpl<DEVICE> {
  c10::Device exchangeDevice(c10::Device) const override { return {DEVICE, 0}; }
  c10::Device getDevice() const override { return {DEVICE, 0}; }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  void synchronizeDevice(const c10::DeviceIndex) const override {}
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
} hooks;

// The same memory as a storage of another device, which keeps the first one.
Storage shared(const Storage& storage, c10::Device device, c10::Allocator* allocator) {
  c10::DataPtr data(
      storage.mutable_data(), new Storage(storage), [](void* kept) { delete static_cast<Storage*>(kept); }, device);
  return Storage(Storage::use_byte_size_t(), storage.nbytes(), std::move(data), allocator, /*resizable=*/true);
}

Tensor made(const Storage& storage, c10::DispatchKey key, const Tensor& like) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(Storage(storage), c10::DispatchKeySet(key), like.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return tensor;
}

// One call of an operation: its tensors as those of the CPU, and its results as those of the device.
struct Call {
  std::vector<std::pair<Tensor, Tensor>> pairs;  // of the device, of the CPU

  Tensor on_cpu(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_privateuseone()) return tensor;
    for (auto& [ours, theirs] : pairs)
      if (ours.is_same(tensor)) return theirs;
    for (auto& [ours, theirs] : pairs)  // views of one tensor stay views of one
      if (ours.storage().is_alias_of(tensor.storage()))
        return pairs.emplace_back(tensor, made(theirs.storage(), c10::DispatchKey::CPU, tensor)).second;
    auto storage = shared(tensor.storage(), c10::kCPU, c10::GetCPUAllocator());
    return pairs.emplace_back(tensor, made(storage, c10::DispatchKey::CPU, tensor)).second;
  }

  Tensor on_device(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cpu()) return tensor;
    for (auto& [ours, theirs] : pairs)
      if (theirs.is_same(tensor)) return ours;
    for (auto& [ours, theirs] : pairs)
      if (theirs.storage().is_alias_of(tensor.storage()))
        return made(ours.storage(), c10::DispatchKey::PrivateUse1, tensor);
    return made(shared(tensor.storage(), {DEVICE, 0}, &memory), c10::DispatchKey::PrivateUse1, tensor);
  }

  // An operation that writes may have changed a tensor's shape, and so its memory too.
  void keep_shapes() {
    for (auto& [ours, theirs] : pairs) {
      if (theirs.data_ptr() != ours.data_ptr())
        ours.unsafeGetTensorImpl()->set_storage_keep_dtype(shared(theirs.storage(), {DEVICE, 0}, &memory));
      if (theirs.sizes() != ours.sizes() || theirs.strides() != ours.strides())
        ours.unsafeGetTensorImpl()->set_sizes_and_strides(theirs.sizes(), theirs.strides(), theirs.storage_offset());
    }
  }
};

bool is_tensors(const IValue& value) { return value.isTensorList() || value.isOptionalTensorList(); }

void each(const IValue& value, const std::function<void(const Tensor&)>& visit) {
  if (value.isTensor() && value.toTensor().defined()) visit(value.toTensor());
  if (is_tensors(value))
    for (const IValue& part : value.toListRef()) each(part, visit);
}

IValue mapped(const IValue& value, const std::function<Tensor(const Tensor&)>& change) {
  if (value.isTensor()) return change(value.toTensor());
  if (!is_tensors(value)) return value;
  auto list = value.toList().copy();
  for (size_t place = 0; place < list.size(); ++place) list.set(place, mapped(list.get(place), change));
  return list;
}

void check(const c10::FunctionSchema& schema, c10::ArrayRef<IValue> given) {
  bool indexes = schema.name().find("index") != std::string::npos;
  std::string found;
  bool device = false, cpu = false;
  for (size_t place = 0; place < given.size(); ++place) {
    bool index = indexes && schema.arguments()[place].name() == "indices";
    each(given[place], [&](const Tensor& tensor) {
      device |= tensor.is_privateuseone() && !index;
      cpu |= tensor.is_cpu() && tensor.dim() && !index;
      TORCH_CHECK(!index || !tensor.is_privateuseone() || given[0].toTensor().is_privateuseone(), schema.name(),
                  ": indices on the device for a tensor on the CPU");
      found += " " + tensor.device().str() + c10::str(tensor.sizes());
    });
    if (!given[place].isNone() && schema.arguments()[place].type()->str().find("Generator") != std::string::npos)
      TORCH_CHECK(false, schema.name(), ": Expected a generator of the device, but found one of the CPU");
  }
  TORCH_CHECK(!(device && cpu), schema.name(), ": Expected all tensors to be on the same device, but found", found);
}

void on_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  const auto& schema = operation.schema();
  size_t count = schema.arguments().size(), begin = stack->size() - count;
  check(schema, c10::ArrayRef<IValue>(*stack).slice(begin));
  Call call;
  for (size_t place = begin; place < stack->size(); ++place) {
    IValue& value = (*stack)[place];
    value = value.isDevice() && value.toDevice().type() == DEVICE
        ? IValue(c10::Device(c10::kCPU))
        : mapped(value, [&](const Tensor& tensor) { return call.on_cpu(tensor); });
  }
  operation.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  if (schema.is_mutable()) call.keep_shapes();
  for (size_t place = stack->size() - schema.returns().size(); place < stack->size(); ++place)
    (*stack)[place] = mapped((*stack)[place], [&](const Tensor& tensor) { return call.on_device(tensor); });
}

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory,
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype),
                                   format);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &memory,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  Call call;
  call.on_cpu(to).copy_(call.on_cpu(from));
  return to;
}

Tensor& set_part(Tensor& tensor, Storage source, c10::SymInt offset, c10::SymIntArrayRef size,
                 c10::SymIntArrayRef stride) {
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                              offset.guard_int(__FILE__, __LINE__));
  return tensor;
}

Tensor& set_whole(Tensor& tensor, Storage source) {
  c10::SymInt size = source.nbytes() / tensor.dtype().itemsize(), stride = 1;
  return set_part(tensor, std::move(source), 0, size, stride);
}

// As on CUDA, module.to(device) then sets the data of its parameters, so that tied ones stay tied.
bool compatible(const Tensor&, const Tensor&) { return true; }

auto boxed() { return torch::CppFunction::makeFromBoxedFunction<&on_cpu>(); }

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(boxed()); }
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) { library.fallback(torch::CppFunction::makeFallthrough()); }
TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("_copy_from", &copy_from);
  library.impl("set_.source_Storage", &set_whole);
  library.impl("set_.source_Storage_storage_offset", &set_part);
  library.impl("_has_compatible_shallow_copy_type", &compatible);
  library.impl("convolution", boxed());
  library.impl("convolution_backward", boxed());
}

const bool registered = (at::RegisterPrivateUse1HooksInterface(&hooks), c10::SetAllocator(DEVICE, &memory), true);

}  // namespace
