// NumPy's files of float32 (numpy.lib.format): little-endian, in C order.
#pragma once

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "failures.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files of NumPy are read and written as they lie in memory, which has to be little-endian"
#endif

inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

/// A file whose header has been read and fits its size. Throws BadInput for any other.
class NpyFile {
 public:
  explicit NpyFile(const std::string& path) : path_(path) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) throw BadInput(path + ": expected a file, found " + found(error));
    const uintmax_t size = std::filesystem::file_size(path, error);
    file_.open(path, std::ios::binary);
    if (error || !file_) throw BadInput(path + ": cannot be read");
    const std::string header = read_header();
    shape_ = read_shape(header);
    // Divided, because products of sizes from a file may overflow.
    uintmax_t rest = (size - static_cast<uintmax_t>(file_.tellg())) / sizeof(float);
    bool fits = size == static_cast<uintmax_t>(file_.tellg()) + rest * sizeof(float);
    for (const int64_t axis : shape_) {
      fits = fits && axis > 0 && rest % static_cast<uintmax_t>(axis) == 0;
      if (fits) rest /= static_cast<uintmax_t>(axis), count_ *= static_cast<size_t>(axis);
    }
    if (!fits || rest != 1)
      throw BadInput(path + ": expected the float32 values of " + shape_text(shape_) + ", found a file of " +
                     std::to_string(size) + " bytes");
  }

  const std::vector<int64_t>& shape() const { return shape_; }

  std::vector<float> read() {
    std::vector<float> values(count_);
    file_.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count_ * sizeof(float)));
    if (!file_) throw BadInput(path_ + ": expected " + std::to_string(count_) + " values, found less");
    return values;
  }

 private:
  static std::string found(const std::error_code& error) {
    return error ? error.message() : "none, or a folder or device";
  }

  /// The text of the header, a literal of Python.
  std::string read_header() {
    char start[8] = {};
    unsigned char length[4] = {};
    file_.read(start, sizeof start);
    if (!file_ || std::memcmp(start, "\x93NUMPY", 6) != 0 || start[6] < 1 || start[6] > 3)
      throw BadInput(path_ + ": expected a file that numpy.save wrote, found another");
    file_.read(reinterpret_cast<char*>(length), start[6] == 1 ? 2 : 4);
    const size_t size = length[0] | length[1] << 8 | length[2] << 16 | static_cast<size_t>(length[3]) << 24;
    if (!file_ || size > kLongestHeader) throw BadInput(path_ + ": expected a header of NumPy, found a damaged one");
    std::string text(size, ' ');
    file_.read(text.data(), static_cast<std::streamsize>(size));
    if (!file_) throw BadInput(path_ + ": expected a header of NumPy, found a part of it");
    return text;
  }

  /// As numpy.save writes it: {'descr': '<f4', 'fortran_order': False, 'shape': (1, 20), }
  std::vector<int64_t> read_shape(const std::string& header) const {
    size_t place = 0;
    const auto skip = [&](const char* text) {
      const bool there = header.compare(place, std::strlen(text), text) == 0;
      if (there) place += std::strlen(text);
      return there;
    };
    const auto skip_or_throw = [&](const char* text) {
      if (!skip(text)) throw BadInput(path_ + ": expected a header as numpy.save writes it, found " + header);
    };
    skip_or_throw("{'descr': ");
    if (!skip("'<f4'")) throw BadInput(path_ + ": expected float32 values, found " + header + ": save them as float32");
    skip_or_throw(", 'fortran_order': ");
    if (skip("True")) throw BadInput(path_ + ": expected C order, found Fortran's: save numpy.ascontiguousarray of it");
    skip_or_throw("False, 'shape': (");
    std::vector<int64_t> shape;
    while (!skip(")")) {
      int64_t size = 0;
      const char* start = header.data() + place;
      const auto [end, error] = std::from_chars(start, header.data() + header.size(), size);
      if (error != std::errc() || size < 0) skip_or_throw("a size");
      shape.push_back(size);
      place += static_cast<size_t>(end - start);
      if (skip(",")) skip(" ");
    }
    skip_or_throw(", }");
    return shape;
  }

  static constexpr size_t kLongestHeader = 4096;

  std::string path_;
  std::ifstream file_;
  std::vector<int64_t> shape_;
  size_t count_ = 1;
};

/// Write an array. A file of this name is replaced when the new one is complete.
inline void write_npy(const std::string& path, const std::vector<int64_t>& shape, const float* values, size_t count) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  header.append(63 - (10 + header.size()) % 64, ' ').push_back('\n');  // the values begin at a multiple of 64
  const std::string start = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 0xff) +
                            static_cast<char>(header.size() >> 8);
  const std::string part = path + ".part";
  std::ofstream file(part, std::ios::binary);
  file << start << header;
  file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * sizeof(float)));
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(part, path, error);
  if (!file || error) {
    const std::string reason = error ? error.message() : std::strerror(errno);
    std::filesystem::remove(part, error);
    throw std::runtime_error(path + ": cannot be written: " + reason);
  }
}
