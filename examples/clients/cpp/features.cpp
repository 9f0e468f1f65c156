// Computes the features of a clip with an exported ONNX file, through ONNX Runtime's C API:
//
//     features MODEL.onnx CLIP.npy FEATURES.npy
//
// Exit status: 0 done, 1 the machine or the computation failed, 2 bad usage or bad input.

#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <vector>

// Not initialized before main, where a library that is older than the header gets a message.
#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include "failures.h"
#include "npy.h"

namespace {

/// An input or output of a model: its name, and its dimensions with their names where the size is not fixed.
struct Place {
  std::string name;
  std::vector<int64_t> sizes;
  std::vector<std::string> names;

  std::string described() const {
    std::string text = name + " float32 (";
    for (size_t axis = 0; axis < sizes.size(); ++axis) {
      if (axis) text += ", ";
      text += sizes[axis] >= 0 ? std::to_string(sizes[axis]) : names[axis].empty() ? "?" : names[axis];
    }
    return printable(text + ")");
  }

  bool admits(const std::vector<int64_t>& shape) const {
    if (shape.size() != sizes.size()) return false;
    std::map<std::string, int64_t> known;  // dimensions of the same name have the same size
    for (size_t axis = 0; axis < sizes.size(); ++axis) {
      if (sizes[axis] >= 0 ? shape[axis] != sizes[axis] : shape[axis] < 1) return false;
      if (sizes[axis] < 0 && !names[axis].empty() && known.emplace(names[axis], shape[axis]).first->second != shape[axis])
        return false;
    }
    return true;
  }
};

Place place(const std::string& model, const std::string& name, const Ort::TypeInfo& type) {
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) throw BadInput(model + ": expected " + name + " to be a tensor, found another type");
  const auto tensor = type.GetTensorTypeAndShapeInfo();
  if (tensor.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    throw BadInput(model + ": expected " + name + " to be float32, found ONNX's type " + std::to_string(tensor.GetElementType()));
  Place found{name, tensor.GetShape(), {}};
  std::vector<const char*> names(found.sizes.size(), "");
  tensor.GetSymbolicDimensions(names.data(), names.size());
  found.names.assign(names.begin(), names.end());
  return found;
}

std::optional<std::string> metadata(const Ort::ModelMetadata& facts, const char* key) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto value = facts.LookupCustomMetadataMapAllocated(key, allocator);
  if (!value) return std::nullopt;
  return printable(value.get());
}

/// What the export says of the model: on stdout what it is and takes, on stderr what its user has to know.
void tell(const std::string& model, const Ort::ModelMetadata& facts) {
  const auto version = metadata(facts, "swift_export.version");
  if (!version) {
    std::cerr << "warning: " << model << " was not written by swift-export: it does not say which input it expects\n";
    return;
  }
  std::cout << "model: " << metadata(facts, "swift_export.variant").value_or("?") << ", weights "
            << metadata(facts, "swift_export.weights_sha256").value_or("?") << ", by swift-export " << *version << "\n";
  if (const auto contract = metadata(facts, "swift_export.input_contract")) std::cout << "expects: " << *contract << "\n";
  if (const auto warning = metadata(facts, "swift_export.warning")) std::cerr << "warning: " << *warning << "\n";
}

bool finite(const float* values, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i])) return false;
  return true;
}

Ort::Session load(const Ort::Env& environment, const std::string& model) {
  Ort::SessionOptions options;
  try {
    return Ort::Session(environment, model.c_str(), options);
  } catch (const Ort::Exception& error) {
    throw BadInput(model + ": expected a model that ONNX Runtime " + Ort::GetVersionString() + " reads, found: " + error.what());
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool same_file(const std::string& one, const std::string& other) {
  std::error_code absent;
  return std::filesystem::equivalent(one, other, absent);
}

void compute(const std::string& model, const std::string& clip, const std::string& target) {
  const OrtApi* api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!api)
    throw std::runtime_error("expected ONNX Runtime 1." + std::to_string(ORT_API_VERSION) + " or newer, found " +
                             OrtGetApiBase()->GetVersionString() + ": compile with that version's header");
  Ort::InitApi(api);
  for (const auto& source : {model, clip})
    if (same_file(source, target)) throw BadInput(target + ": expected another file for the features, found " + source);

  // One line for an error is this program's own.
  const Ort::Env environment(ORT_LOGGING_LEVEL_FATAL, "features");
  auto start = std::chrono::steady_clock::now();
  Ort::Session session = load(environment, model);
  const double loading = seconds_since(start);

  if (session.GetInputCount() != 1 || session.GetOutputCount() < 1)
    throw BadInput(model + ": expected one input and an output, found " + std::to_string(session.GetInputCount()) + " and " +
                   std::to_string(session.GetOutputCount()));
  Ort::AllocatorWithDefaultOptions allocator;
  const Place input = place(model, session.GetInputNameAllocated(0, allocator).get(), session.GetInputTypeInfo(0));
  const Place output = place(model, session.GetOutputNameAllocated(0, allocator).get(), session.GetOutputTypeInfo(0));
  tell(model, session.GetModelMetadata());

  NpyFile file(clip);
  if (!input.admits(file.shape()))
    throw BadInput(clip + ": expected " + input.described() + ", found " + shape_text(file.shape()) +
                   ": make it with swift-export prepare");
  std::vector<float> values = file.read();
  if (!finite(values.data(), values.size())) throw BadInput(clip + ": expected finite values, found NaN or infinity");

  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Ort::Value tensor =
      Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), file.shape().data(), file.shape().size());
  const char* const inputs[] = {input.name.c_str()};
  const char* const outputs[] = {output.name.c_str()};
  start = std::chrono::steady_clock::now();
  const std::vector<Ort::Value> found = session.Run(Ort::RunOptions{nullptr}, inputs, &tensor, 1, outputs, 1);
  const double computing = seconds_since(start);

  const auto shape = found[0].GetTensorTypeAndShapeInfo();
  const std::vector<int64_t> sizes = shape.GetShape();
  const float* features = found[0].GetTensorData<float>();
  if (!output.admits(sizes))
    throw std::runtime_error(model + ": expected " + output.described() + ", computed " + shape_text(sizes));
  if (!finite(features, shape.GetElementCount()))
    throw std::runtime_error(model + ": expected finite " + output.name + ", computed NaN or infinity");
  write_npy(target, sizes, features, shape.GetElementCount());
  std::cout << output.name << ": " << target << " " << shape_text(sizes) << ", loaded in " << loading << " s, computed in "
            << computing << " s by ONNX Runtime " << Ort::GetVersionString() << "\n";
}

int fail(const char* message, int status) {
  std::cerr << "features: " << printable(message) << "\n";
  return status;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return fail("expected three files: features MODEL.onnx CLIP.npy FEATURES.npy", 2);
  try {
    std::cout.precision(2);
    compute(arguments[1], arguments[2], arguments[3]);
    return std::cout.flush() ? 0 : fail("cannot write to the standard output", 1);
  } catch (const BadInput& error) {
    return fail(error.what(), 2);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
