/* Stands in for NVIDIA's driver (libcuda.so.1) where there is none: claims H100s and computes nothing.
 *
 * Libraries load, and vLLM builds its engine configurations; whatever would touch a device is refused with
 * CUDA_ERROR_NOT_SUPPORTED. FAKE_GPUS: how many GPUs (1). FAKE_CUDA_LOG: a file that gets a line, process and function,
 * for each call that matters.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, NOT_FOUND = 500, NOT_SUPPORTED = 801 };

static int initialised;

static int note(const char *name, int result) {
  const char *path = getenv("FAKE_CUDA_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "%d %s\n", getpid(), name);
    fclose(file);
  }
  return result;
}

static int gpus(void) {
  const char *visible = getenv("CUDA_VISIBLE_DEVICES"), *count = getenv("FAKE_GPUS");
  if (visible && !*visible) return 0;
  return count ? atoi(count) : 1;
}

int cuInit(unsigned flags) {
  (void)flags;
  initialised = 1;
  return note("cuInit", OK);
}

int cuCtxGetCurrent(void **context) {
  *context = NULL;
  return initialised ? OK : NOT_INITIALIZED;
}

int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *count) { return *count = gpus(), note("cuDeviceGetCount", OK); }
int cuDeviceGet(int *device, int index) { return *device = index, OK; }
int cuDeviceGetLuid(void *luid, void *mask, int device) { return (void)luid, (void)mask, (void)device, NOT_SUPPORTED; }

int cuDeviceGetName(char *name, int size, int device) {
  (void)device;
  snprintf(name, size, "NVIDIA H100 80GB HBM3");
  return OK;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  (void)device;
  *bytes = 85520809984ull;
  return OK;
}

int cuDeviceGetUuid(void *uuid, int device) {
  memset(uuid, 0, 16);
  return (void)device, OK;
}
int cuDeviceGetUuid_v2(void *uuid, int device) { return cuDeviceGetUuid(uuid, device); }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  switch (attribute) {
    case 1: *value = 1024; break;    /* threads a block */
    case 10: *value = 32; break;     /* threads a warp */
    case 16: *value = 132; break;    /* multiprocessors */
    case 75: *value = 9; break;      /* compute capability 9.0 */
    case 97: *value = 232448; break; /* shared memory a block, opted in */
    default: *value = 0;
  }
  return OK;
}

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
  (void)device;
  *flags = 0;
  *active = 0;
  return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = NULL;
  return (void)device, note("cuDevicePrimaryCtxRetain", NO_DEVICE);
}

int cuGetErrorString(int error, const char **text) { return (void)error, *text = "no real driver", OK; }
int cuGetErrorName(int error, const char **text) { return (void)error, *text = "STAND_IN", OK; }
int cuGetExportTable(const void **table, const void *id) { return (void)id, *table = NULL, NOT_FOUND; }

static int refused(void) { return note("refused", NOT_SUPPORTED); }

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
  (void)version, (void)flags;
  char newer[128];
  void *self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW);
  snprintf(newer, sizeof newer, "%s_v2", name);
  *function = self ? dlsym(self, newer) : NULL;
  if (self && !*function) *function = dlsym(self, name);
  if (!*function) *function = (void *)refused;
  if (status) *status = 0;
  return OK;
}
int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}

/* What libraries link by name. */
#define REFUSE(name) int name(void) { return note(#name, NOT_SUPPORTED); }
REFUSE(cuCtxSetCurrent)
REFUSE(cuFuncGetAttribute)
REFUSE(cuFuncSetAttribute)
REFUSE(cuFuncSetCacheConfig)
REFUSE(cuLaunchCooperativeKernel)
REFUSE(cuLaunchKernel)
REFUSE(cuLaunchKernelEx)
REFUSE(cuLinkAddData_v2)
REFUSE(cuLinkComplete)
REFUSE(cuLinkCreate_v2)
REFUSE(cuLinkDestroy)
REFUSE(cuMemAddressFree)
REFUSE(cuMemAddressReserve)
REFUSE(cuMemCreate)
REFUSE(cuMemGetAllocationGranularity)
REFUSE(cuMemMap)
REFUSE(cuMemRelease)
REFUSE(cuMemSetAccess)
REFUSE(cuMemUnmap)
REFUSE(cuModuleGetFunction)
REFUSE(cuModuleLoad)
REFUSE(cuModuleLoadData)
REFUSE(cuModuleLoadDataEx)
REFUSE(cuModuleUnload)
REFUSE(cuOccupancyMaxActiveBlocksPerMultiprocessor)
REFUSE(cuPointerGetAttribute)
REFUSE(cuTensorMapEncodeTiled)
