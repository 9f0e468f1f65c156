// How this program fails: in one line, without control characters from a file.
#pragma once

#include <stdexcept>
#include <string>

/// The usage or a file is wrong: exit status 2.
struct BadInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A text from outside in one line: control characters of ASCII become spaces, and those of Latin-1 question marks.
inline std::string printable(std::string text) {
  for (size_t place = 0; place < text.size(); ++place) {
    const auto code = [&](size_t of) { return static_cast<unsigned char>(text[of]); };
    if (code(place) < 0x20 || code(place) == 0x7f) text[place] = ' ';
    // In UTF-8, U+0080 to U+009F are C2 80 to C2 9F.
    if (code(place) == 0xc2 && place + 1 < text.size() && code(place + 1) < 0xa0) text.replace(place, 2, "??");
  }
  return text;
}
