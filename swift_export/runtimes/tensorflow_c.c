/* A SavedModel in TensorFlow's C API, the road a C or C++ service takes: no Python, no JAX.
 *
 *     tensorflow_c SAVEDMODEL
 *
 * loads the graph with the tag `serve` and says `ok VERSION DEVICE...`. It then obeys lines on stdin and answers each
 * with one line on stdout, `ok ...` or `error MESSAGE`:
 *
 *     put OPERATION:INDEX DTYPE FILE DIM...   take an array from a file as that input, in every run from now on
 *     run OPERATION:INDEX...                  compute these outputs
 *     get NUMBER FILE                         write the output of that number to a file; answers `ok DTYPE DIM...`
 *
 * Arrays are files of nothing but their elements, the last axis fastest, in the machine's byte order. Words are
 * separated by single spaces and hold none. The end of its input ends the program, with exit status 0; 1 says that the
 * SavedModel could not be loaded, which the answer explains.
 */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

enum { MAX_TENSORS = 64, MAX_RANK = 8, MAX_MESSAGE = 1000 };

/* A value of the graph and, once put or computed, its content. */
typedef struct {
  TF_Output place;
  TF_Tensor *tensor;
} Value;

typedef struct {
  TF_Graph *graph;
  TF_Session *session;
  TF_Status *status;
  Value inputs[MAX_TENSORS];
  Value outputs[MAX_TENSORS];
  int input_count;
  int output_count;
} Model;

static const struct {
  const char *name;
  TF_DataType type;
} DTYPES[] = {
    {"float32", TF_FLOAT},     {"float64", TF_DOUBLE}, {"float16", TF_HALF},  {"bfloat16", TF_BFLOAT16},
    {"bool", TF_BOOL},         {"int8", TF_INT8},      {"int16", TF_INT16},   {"int32", TF_INT32},
    {"int64", TF_INT64},       {"uint8", TF_UINT8},    {"uint16", TF_UINT16}, {"uint32", TF_UINT32},
    {"uint64", TF_UINT64},     {"float8_e5m2", TF_FLOAT8_E5M2},               {"float8_e4m3fn", TF_FLOAT8_E4M3FN},
    {"complex64", TF_COMPLEX64},                       {"complex128", TF_COMPLEX128},
};
enum { DTYPE_COUNT = sizeof DTYPES / sizeof DTYPES[0] };

/* Answer with an error, on one line whatever the message holds; always false, for callers to return. */
__attribute__((format(printf, 1, 2))) static bool fail(const char *format, ...) {
  char message[MAX_MESSAGE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  for (char *c = message; *c; c++) {
    if (*c == '\n' || *c == '\r') *c = ' ';
  }
  printf("error %s\n", message);
  return false;
}

static bool succeeded(const Model *model) {
  return TF_GetCode(model->status) == TF_OK || fail("%s", TF_Message(model->status));
}

/* The words of a line after the one that strtok_r was begun with. */
static const char *next(char **rest) { return strtok_r(NULL, " \n", rest); }

/* A whole number from 0 to `most`; anything else is an error. */
static bool parse_number(const char *word, int64_t most, int64_t *number) {
  char *end;
  if (!word) return fail("expected a number, found the end of the line");
  errno = 0;
  long long value = strtoll(word, &end, 10);
  if (errno || end == word || *end || value < 0 || value > most) {
    return fail("expected a number from 0 to %lld, found %s", (long long)most, word);
  }
  *number = value;
  return true;
}

static bool parse_dtype(const char *word, TF_DataType *type) {
  for (int i = 0; word && i < DTYPE_COUNT; i++) {
    if (!strcmp(word, DTYPES[i].name)) {
      *type = DTYPES[i].type;
      return true;
    }
  }
  return fail("no such dtype: %s", word ? word : "none");
}

/* OPERATION:INDEX as an output of an operation of the graph. */
static bool parse_place(const Model *model, const char *word, TF_Output *place) {
  char name[MAX_MESSAGE];
  const char *colon = word ? strrchr(word, ':') : NULL;
  if (!colon || (size_t)(colon - word) >= sizeof name) {
    return fail("expected OPERATION:INDEX, found %s", word ? word : "none");
  }
  memcpy(name, word, (size_t)(colon - word));
  name[colon - word] = '\0';
  TF_Operation *operation = TF_GraphOperationByName(model->graph, name);
  if (!operation) return fail("no operation %s in the graph", name);
  int64_t index;
  if (!parse_number(colon + 1, TF_OperationNumOutputs(operation) - 1, &index)) return false;
  *place = (TF_Output){operation, (int)index};
  return true;
}

/* The elements of a file, which must hold exactly as many as the tensor. */
static bool read_elements(const char *path, TF_Tensor *tensor) {
  FILE *file = fopen(path, "rb");
  if (!file) return fail("%s: %s", path, strerror(errno));
  size_t size = TF_TensorByteSize(tensor);
  size_t found = fread(TF_TensorData(tensor), 1, size, file);
  bool exact = found == size && fgetc(file) == EOF && !ferror(file);
  fclose(file);
  return exact || fail("%s: expected %zu bytes, found %s", path, size, found < size ? "fewer" : "more");
}

static bool write_elements(const char *path, const TF_Tensor *tensor) {
  FILE *file = fopen(path, "wb");
  if (!file) return fail("%s: %s", path, strerror(errno));
  size_t size = TF_TensorByteSize(tensor);
  bool whole = fwrite(TF_TensorData(tensor), 1, size, file) == size;
  whole &= fclose(file) == 0;
  return whole || fail("%s: %s", path, strerror(errno));
}

static bool put(Model *model, char **rest) {
  TF_Output place;
  TF_DataType type = TF_FLOAT;
  if (!parse_place(model, next(rest), &place) || !parse_dtype(next(rest), &type)) return false;
  const char *path = next(rest);
  if (!path) return fail("expected a file");
  int64_t dims[MAX_RANK];
  int rank = 0;
  size_t size = TF_DataTypeSize(type);
  for (const char *word = next(rest); word; word = next(rest), rank++) {
    if (rank == MAX_RANK) return fail("more than %d axes", MAX_RANK);
    if (!parse_number(word, INT64_MAX, &dims[rank])) return false;
    if (dims[rank] && size > SIZE_MAX / (uint64_t)dims[rank]) return fail("an array larger than the memory");
    size *= (size_t)dims[rank];
  }
  int i = 0;
  while (i < model->input_count &&
         (model->inputs[i].place.oper != place.oper || model->inputs[i].place.index != place.index)) {
    i++;
  }
  if (i == MAX_TENSORS) return fail("more than %d inputs", MAX_TENSORS);
  TF_Tensor *tensor = TF_AllocateTensor(type, dims, rank, size);
  if (!tensor) return fail("no memory for %zu bytes", size);
  if (!read_elements(path, tensor)) {
    TF_DeleteTensor(tensor);
    return false;
  }
  if (i == model->input_count) {
    model->input_count++;
  } else {
    TF_DeleteTensor(model->inputs[i].tensor);
  }
  model->inputs[i] = (Value){place, tensor};
  printf("ok\n");
  return true;
}

static void drop_outputs(Model *model) {
  for (int i = 0; i < model->output_count; i++) TF_DeleteTensor(model->outputs[i].tensor);
  model->output_count = 0;
}

static bool run(Model *model, char **rest) {
  TF_Output input_places[MAX_TENSORS], output_places[MAX_TENSORS];
  TF_Tensor *inputs[MAX_TENSORS], *outputs[MAX_TENSORS] = {NULL};
  int count = 0;
  for (const char *word = next(rest); word; word = next(rest), count++) {
    if (count == MAX_TENSORS) return fail("more than %d outputs", MAX_TENSORS);
    if (!parse_place(model, word, &output_places[count])) return false;
  }
  for (int i = 0; i < model->input_count; i++) {
    input_places[i] = model->inputs[i].place;
    inputs[i] = model->inputs[i].tensor;
  }
  drop_outputs(model);
  TF_SessionRun(model->session, NULL, input_places, inputs, model->input_count, output_places, outputs, count, NULL, 0,
                NULL, model->status);
  if (!succeeded(model)) return false;
  for (int i = 0; i < count; i++) model->outputs[i] = (Value){output_places[i], outputs[i]};
  model->output_count = count;
  printf("ok\n");
  return true;
}

static bool get(Model *model, char **rest) {
  int64_t number;
  if (!model->output_count) return fail("nothing was computed");
  if (!parse_number(next(rest), model->output_count - 1, &number)) return false;
  const char *path = next(rest);
  if (!path) return fail("expected a file");
  const TF_Tensor *tensor = model->outputs[number].tensor;
  const char *dtype = NULL;
  for (int i = 0; i < DTYPE_COUNT; i++) {
    if (DTYPES[i].type == TF_TensorType(tensor)) dtype = DTYPES[i].name;
  }
  if (!dtype) return fail("output %lld has a dtype that is not supported", (long long)number);
  if (!write_elements(path, tensor)) return false;
  printf("ok %s", dtype);
  for (int i = 0; i < TF_NumDims(tensor); i++) printf(" %lld", (long long)TF_Dim(tensor, i));
  printf("\n");
  return true;
}

static bool obey(Model *model, char *line) {
  char *rest = NULL;
  const char *word = strtok_r(line, " \n", &rest);
  if (word && !strcmp(word, "put")) return put(model, &rest);
  if (word && !strcmp(word, "run")) return run(model, &rest);
  if (word && !strcmp(word, "get")) return get(model, &rest);
  return fail("expected put, run or get, found %s", word ? word : "nothing");
}

static bool load(Model *model, const char *path) {
  const char *tags[] = {"serve"};
  TF_SessionOptions *options = TF_NewSessionOptions();
  model->session = TF_LoadSessionFromSavedModel(options, NULL, path, tags, 1, model->graph, NULL, model->status);
  TF_DeleteSessionOptions(options);
  if (!succeeded(model)) return false;
  TF_DeviceList *devices = TF_SessionListDevices(model->session, model->status);
  if (!succeeded(model)) return false;
  printf("ok %s", TF_Version());
  for (int i = 0; i < TF_DeviceListCount(devices); i++) {
    const char *type = TF_DeviceListType(devices, i, model->status);
    printf(" %s", TF_GetCode(model->status) == TF_OK ? type : "?");
  }
  printf("\n");
  TF_DeleteDeviceList(devices);
  return true;
}

static void unload(Model *model) {
  drop_outputs(model);
  for (int i = 0; i < model->input_count; i++) TF_DeleteTensor(model->inputs[i].tensor);
  if (model->session) {
    TF_CloseSession(model->session, model->status);
    TF_DeleteSession(model->session, model->status);
  }
  TF_DeleteGraph(model->graph);
  TF_DeleteStatus(model->status);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s SAVEDMODEL\n", argv[0]);
    return 2;
  }
  /* An answer must not wait for the next: whoever asked waits for it. */
  setvbuf(stdout, NULL, _IOLBF, 0);
  Model model = {.graph = TF_NewGraph(), .status = TF_NewStatus()};
  bool loaded = load(&model, argv[1]);
  char *line = NULL;
  size_t room = 0;
  while (loaded && getline(&line, &room, stdin) != -1) obey(&model, line);
  free(line);
  unload(&model);
  return loaded ? 0 : 1;
}
