module @a_inference_network_35__.7 attributes {mhlo.cross_program_prefetches = [], mhlo.input_output_alias = [], mhlo.is_dynamic = false, mhlo.use_auto_spmd_partitioning = false} {
  func.func private @add_int32_.1(%arg0: tensor<i32>, %arg1: tensor<i32>) -> tensor<i32> {
    %0 = stablehlo.add %arg0, %arg1 : tensor<i32>
    return %0 : tensor<i32>
  }
  func.func private @Mean_reduction.2(%arg0: tensor<f32>, %arg1: tensor<f32>) -> tensor<f32> {
    %0 = stablehlo.add %arg0, %arg1 : tensor<f32>
    return %0 : tensor<f32>
  }
  func.func private @region_0.3(%arg0: tensor<f32>, %arg1: tensor<f32>) -> tensor<f32> {
    %0 = stablehlo.maximum %arg0, %arg1 : tensor<f32>
    return %0 : tensor<f32>
  }
  func.func private @region_1.4(%arg0: tensor<f32>, %arg1: tensor<f32>) -> tensor<f32> {
    %0 = stablehlo.add %arg0, %arg1 : tensor<f32>
    return %0 : tensor<f32>
  }
  func.func private @minmax_func.6(%arg0: tensor<f32>, %arg1: tensor<i32>, %arg2: tensor<f32>, %arg3: tensor<i32>) -> (tensor<f32>, tensor<i32>) {
    %0 = stablehlo.compare  GE, %arg0, %arg2 : (tensor<f32>, tensor<f32>) -> tensor<i1>
    %1 = stablehlo.select %0, %arg0, %arg2 : tensor<i1>, tensor<f32>
    %2 = stablehlo.compare  EQ, %arg0, %arg2 : (tensor<f32>, tensor<f32>) -> tensor<i1>
    %3 = stablehlo.minimum %arg1, %arg3 : tensor<i32>
    %4 = stablehlo.select %0, %arg1, %arg3 : tensor<i1>, tensor<i32>
    %5 = stablehlo.select %2, %3, %4 : tensor<i1>, tensor<i32>
    return %1, %5 : tensor<f32>, tensor<i32>
  }
  func.func @main(%arg0: tensor<2x4xf32>, %arg1: tensor<5xi32>) -> (tensor<2xi32>, tensor<5x4xf32>, tensor<2x3xf32>, tensor<5xi32>) {
    %cst = stablehlo.constant dense<5.000000e-01> : tensor<f32>
    %0 = stablehlo.broadcast_in_dim %cst, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %1 = stablehlo.reshape %arg0 : (tensor<2x4xf32>) -> tensor<2x4xf32>
    %cst_0 = stablehlo.constant dense<[[1.11762202, -1.3871249, -0.426571608, -0.803587257, 0.601427734, -0.0749932453], [0.0596931949, -0.0320060886, -0.185484678, 1.20477366, 0.777453064, -1.35828102], [0.769827842, -0.870226979, 1.09976351, -0.958474218, -1.27493191, -1.36533809], [-1.47432756, 0.433531702, -0.328120619, -9.709680e-01, 1.26550245, 0.00376360677]]> : tensor<4x6xf32>
    %2 = stablehlo.dot %1, %cst_0, precision = [DEFAULT, DEFAULT] {mhlo.frontend_attributes = {grad_x = "false", grad_y = "false"}} : (tensor<2x4xf32>, tensor<4x6xf32>) -> tensor<2x6xf32>
    %3 = stablehlo.transpose %2, dims = [0, 1] : (tensor<2x6xf32>) -> tensor<2x6xf32>
    %4 = stablehlo.multiply %0, %3 : tensor<2x6xf32>
    %5 = stablehlo.negate %3 : tensor<2x6xf32>
    %cst_1 = stablehlo.constant dense<0.707106769> : tensor<f32>
    %6 = stablehlo.broadcast_in_dim %cst_1, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %7 = stablehlo.multiply %5, %6 : tensor<2x6xf32>
    %8 = stablehlo.abs %7 : tensor<2x6xf32>
    %cst_2 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %9 = stablehlo.broadcast_in_dim %cst_2, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %10 = stablehlo.compare  GT, %8, %9 : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xi1>
    %cst_3 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %11 = stablehlo.broadcast_in_dim %cst_3, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %12 = stablehlo.compare  LT, %7, %11 : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xi1>
    %cst_4 = stablehlo.constant dense<2.000000e+00> : tensor<f32>
    %13 = stablehlo.broadcast_in_dim %cst_4, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %14 = stablehlo.multiply %7, %7 : tensor<2x6xf32>
    %15 = stablehlo.negate %14 : tensor<2x6xf32>
    %16 = stablehlo.exponential %15 : tensor<2x6xf32>
    %cst_5 = stablehlo.constant dense<0.102081165> : tensor<f32>
    %17 = stablehlo.broadcast_in_dim %cst_5, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %cst_6 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %18 = stablehlo.broadcast_in_dim %cst_6, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %19 = stablehlo.divide %18, %14 : tensor<2x6xf32>
    %20 = stablehlo.multiply %17, %19 : tensor<2x6xf32>
    %cst_7 = stablehlo.constant dense<0.429206669> : tensor<f32>
    %21 = stablehlo.broadcast_in_dim %cst_7, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %22 = stablehlo.add %20, %21 : tensor<2x6xf32>
    %23 = stablehlo.multiply %22, %19 : tensor<2x6xf32>
    %cst_8 = stablehlo.constant dense<0.323790789> : tensor<f32>
    %24 = stablehlo.broadcast_in_dim %cst_8, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %25 = stablehlo.add %23, %24 : tensor<2x6xf32>
    %26 = stablehlo.multiply %25, %19 : tensor<2x6xf32>
    %cst_9 = stablehlo.constant dense<0.053971976> : tensor<f32>
    %27 = stablehlo.broadcast_in_dim %cst_9, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %28 = stablehlo.add %26, %27 : tensor<2x6xf32>
    %29 = stablehlo.abs %7 : tensor<2x6xf32>
    %cst_10 = stablehlo.constant dense<1.006000e+01> : tensor<f32>
    %30 = stablehlo.broadcast_in_dim %cst_10, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %31 = stablehlo.minimum %29, %30 : tensor<2x6xf32>
    %cst_11 = stablehlo.constant dense<0.0172516778> : tensor<f32>
    %32 = stablehlo.broadcast_in_dim %cst_11, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %33 = stablehlo.multiply %32, %19 : tensor<2x6xf32>
    %cst_12 = stablehlo.constant dense<0.391371638> : tensor<f32>
    %34 = stablehlo.broadcast_in_dim %cst_12, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %35 = stablehlo.add %33, %34 : tensor<2x6xf32>
    %36 = stablehlo.multiply %35, %19 : tensor<2x6xf32>
    %cst_13 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %37 = stablehlo.broadcast_in_dim %cst_13, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %38 = stablehlo.add %36, %37 : tensor<2x6xf32>
    %39 = stablehlo.multiply %38, %19 : tensor<2x6xf32>
    %cst_14 = stablehlo.constant dense<0.621732413> : tensor<f32>
    %40 = stablehlo.broadcast_in_dim %cst_14, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %41 = stablehlo.add %39, %40 : tensor<2x6xf32>
    %42 = stablehlo.multiply %41, %19 : tensor<2x6xf32>
    %cst_15 = stablehlo.constant dense<0.095662862> : tensor<f32>
    %43 = stablehlo.broadcast_in_dim %cst_15, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %44 = stablehlo.add %42, %43 : tensor<2x6xf32>
    %45 = stablehlo.multiply %31, %44 : tensor<2x6xf32>
    %46 = stablehlo.divide %28, %45 : tensor<2x6xf32>
    %47 = stablehlo.multiply %16, %46 : tensor<2x6xf32>
    %48 = stablehlo.subtract %13, %47 : tensor<2x6xf32>
    %49 = stablehlo.select %12, %48, %47 : tensor<2x6xi1>, tensor<2x6xf32>
    %cst_16 = stablehlo.constant dense<5.61802299E-4> : tensor<f32>
    %50 = stablehlo.broadcast_in_dim %cst_16, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %51 = stablehlo.multiply %7, %7 : tensor<2x6xf32>
    %52 = stablehlo.multiply %50, %51 : tensor<2x6xf32>
    %cst_17 = stablehlo.constant dense<-0.00491381669> : tensor<f32>
    %53 = stablehlo.broadcast_in_dim %cst_17, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %54 = stablehlo.add %52, %53 : tensor<2x6xf32>
    %55 = stablehlo.multiply %54, %51 : tensor<2x6xf32>
    %cst_18 = stablehlo.constant dense<0.0267075151> : tensor<f32>
    %56 = stablehlo.broadcast_in_dim %cst_18, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %57 = stablehlo.add %55, %56 : tensor<2x6xf32>
    %58 = stablehlo.multiply %57, %51 : tensor<2x6xf32>
    %cst_19 = stablehlo.constant dense<-0.112800106> : tensor<f32>
    %59 = stablehlo.broadcast_in_dim %cst_19, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %60 = stablehlo.add %58, %59 : tensor<2x6xf32>
    %61 = stablehlo.multiply %60, %51 : tensor<2x6xf32>
    %cst_20 = stablehlo.constant dense<0.376122952> : tensor<f32>
    %62 = stablehlo.broadcast_in_dim %cst_20, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %63 = stablehlo.add %61, %62 : tensor<2x6xf32>
    %64 = stablehlo.multiply %63, %51 : tensor<2x6xf32>
    %cst_21 = stablehlo.constant dense<-1.12837911> : tensor<f32>
    %65 = stablehlo.broadcast_in_dim %cst_21, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %66 = stablehlo.add %64, %65 : tensor<2x6xf32>
    %67 = stablehlo.multiply %7, %66 : tensor<2x6xf32>
    %cst_22 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %68 = stablehlo.broadcast_in_dim %cst_22, dims = [] : (tensor<f32>) -> tensor<2x6xf32>
    %69 = stablehlo.add %67, %68 : tensor<2x6xf32>
    %70 = stablehlo.select %10, %49, %69 : tensor<2x6xi1>, tensor<2x6xf32>
    %71 = stablehlo.multiply %4, %70 : tensor<2x6xf32>
    %72 = stablehlo.convert %71 : tensor<2x6xf32>
    %cst_23 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %73 = stablehlo.convert %cst_23 : tensor<f32>
    %74 = stablehlo.reduce(%72 init: %73) applies stablehlo.add across dimensions = [1] : (tensor<2x6xf32>, tensor<f32>) -> tensor<2xf32>
    %c = stablehlo.constant dense<6> : tensor<i32>
    %75 = stablehlo.convert %c : (tensor<i32>) -> tensor<f32>
    %76 = stablehlo.broadcast_in_dim %75, dims = [] : (tensor<f32>) -> tensor<2xf32>
    %77 = stablehlo.divide %74, %76 : tensor<2xf32>
    %78 = stablehlo.convert %77 : tensor<2xf32>
    %79 = stablehlo.reshape %78 : (tensor<2xf32>) -> tensor<2x1xf32>
    %80 = stablehlo.reshape %79 : (tensor<2x1xf32>) -> tensor<2xf32>
    %81 = stablehlo.broadcast_in_dim %80, dims = [0] : (tensor<2xf32>) -> tensor<2x6xf32>
    %82 = stablehlo.subtract %71, %81 : tensor<2x6xf32>
    %cst_24 = stablehlo.constant dense<[[-1.06654119, 1.72889876, -0.451382279], [0.04862817, -1.13824058, -0.338293284], [-1.52973986, 0.204066992, -0.0536706373], [-0.906851947, -0.0210764054, -1.24412775], [0.0832168757, -0.247116044, 1.31458926], [0.920494973, -0.228772566, -0.0304026175]]> : tensor<6x3xf32>
    %83 = stablehlo.dot %82, %cst_24, precision = [DEFAULT, DEFAULT] {mhlo.frontend_attributes = {grad_x = "false", grad_y = "false"}} : (tensor<2x6xf32>, tensor<6x3xf32>) -> tensor<2x3xf32>
    %84 = stablehlo.transpose %83, dims = [0, 1] : (tensor<2x3xf32>) -> tensor<2x3xf32>
    %cst_25 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %85 = stablehlo.reduce(%84 init: %cst_25) applies stablehlo.maximum across dimensions = [1] : (tensor<2x3xf32>, tensor<f32>) -> tensor<2xf32>
    %86 = stablehlo.reshape %85 : (tensor<2xf32>) -> tensor<2x1xf32>
    %87 = stablehlo.broadcast_in_dim %86, dims = [0, 1] : (tensor<2x1xf32>) -> tensor<2x1xf32>
    %88 = stablehlo.reshape %87 : (tensor<2x1xf32>) -> tensor<2xf32>
    %89 = stablehlo.broadcast_in_dim %88, dims = [0] : (tensor<2xf32>) -> tensor<2x3xf32>
    %90 = stablehlo.subtract %84, %89 : tensor<2x3xf32>
    %91 = stablehlo.exponential %90 : tensor<2x3xf32>
    %cst_26 = stablehlo.constant dense<-0.000000e+00> : tensor<f32>
    %92 = stablehlo.reduce(%91 init: %cst_26) applies stablehlo.add across dimensions = [1] : (tensor<2x3xf32>, tensor<f32>) -> tensor<2xf32>
    %93 = stablehlo.reshape %92 : (tensor<2xf32>) -> tensor<2x1xf32>
    %94 = stablehlo.broadcast_in_dim %93, dims = [0, 1] : (tensor<2x1xf32>) -> tensor<2x1xf32>
    %95 = stablehlo.reshape %94 : (tensor<2x1xf32>) -> tensor<2xf32>
    %96 = stablehlo.broadcast_in_dim %95, dims = [0] : (tensor<2xf32>) -> tensor<2x3xf32>
    %97 = stablehlo.divide %91, %96 : tensor<2x3xf32>
    %98 = stablehlo.iota dim = 1 : tensor<2x3xi32>
    %cst_27 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %c_28 = stablehlo.constant dense<0> : tensor<i32>
    %99:2 = stablehlo.reduce(%97 init: %cst_27), (%98 init: %c_28) across dimensions = [1] : (tensor<2x3xf32>, tensor<2x3xi32>, tensor<f32>, tensor<i32>) -> (tensor<2xf32>, tensor<2xi32>)
     reducer(%arg2: tensor<f32>, %arg4: tensor<f32>) (%arg3: tensor<i32>, %arg5: tensor<i32>)  {
      %134 = stablehlo.compare  GE, %arg2, %arg4 : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %135 = stablehlo.select %134, %arg2, %arg4 : tensor<i1>, tensor<f32>
      %136 = stablehlo.compare  EQ, %arg2, %arg4 : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %137 = stablehlo.minimum %arg3, %arg5 : tensor<i32>
      %138 = stablehlo.select %134, %arg3, %arg5 : tensor<i1>, tensor<i32>
      %139 = stablehlo.select %136, %137, %138 : tensor<i1>, tensor<i32>
      stablehlo.return %135, %139 : tensor<f32>, tensor<i32>
    }
    %100 = stablehlo.reshape %99#1 : (tensor<2xi32>) -> tensor<2xi32>
    %101 = stablehlo.reshape %arg1 : (tensor<5xi32>) -> tensor<5xi32>
    %c_29 = stablehlo.constant dense<2> : tensor<i32>
    %102 = stablehlo.broadcast_in_dim %c_29, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %103 = stablehlo.remainder %101, %102 : tensor<5xi32>
    %c_30 = stablehlo.constant dense<0> : tensor<i32>
    %104 = stablehlo.broadcast_in_dim %c_30, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %105 = stablehlo.compare  LT, %103, %104 : (tensor<5xi32>, tensor<5xi32>) -> tensor<5xi1>
    %106 = stablehlo.broadcast_in_dim %c_30, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %107 = stablehlo.compare  LT, %102, %106 : (tensor<5xi32>, tensor<5xi32>) -> tensor<5xi1>
    %108 = stablehlo.compare  NE, %105, %107 : (tensor<5xi1>, tensor<5xi1>) -> tensor<5xi1>
    %109 = stablehlo.broadcast_in_dim %c_30, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %110 = stablehlo.compare  NE, %103, %109 : (tensor<5xi32>, tensor<5xi32>) -> tensor<5xi1>
    %111 = stablehlo.and %108, %110 : tensor<5xi1>
    %112 = stablehlo.add %103, %102 : tensor<5xi32>
    %113 = stablehlo.select %111, %112, %103 : tensor<5xi1>, tensor<5xi32>
    %114 = "stablehlo.gather"(%1, %113) <{dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1>, indices_are_sorted = false, slice_sizes = array<i64: 1, 4>}> : (tensor<2x4xf32>, tensor<5xi32>) -> tensor<5x4xf32>
    %115 = stablehlo.reshape %114 : (tensor<5x4xf32>) -> tensor<5x4xf32>
    %116 = stablehlo.reshape %97 : (tensor<2x3xf32>) -> tensor<2x3xf32>
    %117 = stablehlo.convert %101 : tensor<5xi32>
    %c_31 = stablehlo.constant dense<0> : tensor<i32>
    %118 = "stablehlo.reduce_window"(%117, %c_31) <{base_dilations = array<i64: 1>, padding = dense<[[4, 0]]> : tensor<1x2xi64>, window_dilations = array<i64: 1>, window_dimensions = array<i64: 5>, window_strides = array<i64: 1>}> ({
    ^bb0(%arg2: tensor<i32>, %arg3: tensor<i32>):
      %134 = stablehlo.add %arg2, %arg3 : tensor<i32>
      stablehlo.return %134 : tensor<i32>
    }) : (tensor<5xi32>, tensor<i32>) -> tensor<5xi32>
    %119 = stablehlo.convert %118 : tensor<5xi32>
    %c_32 = stablehlo.constant dense<3> : tensor<i32>
    %120 = stablehlo.broadcast_in_dim %c_32, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %121 = stablehlo.divide %119, %120 : tensor<5xi32>
    %122 = stablehlo.multiply %121, %120 : tensor<5xi32>
    %123 = stablehlo.compare  NE, %122, %119 : (tensor<5xi32>, tensor<5xi32>) -> tensor<5xi1>
    %c_33 = stablehlo.constant dense<0> : tensor<i32>
    %124 = stablehlo.broadcast_in_dim %c_33, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %125 = stablehlo.compare  LT, %119, %124 : (tensor<5xi32>, tensor<5xi32>) -> tensor<5xi1>
    %126 = stablehlo.broadcast_in_dim %c_33, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %127 = stablehlo.compare  LT, %120, %126 : (tensor<5xi32>, tensor<5xi32>) -> tensor<5xi1>
    %128 = stablehlo.compare  NE, %125, %127 : (tensor<5xi1>, tensor<5xi1>) -> tensor<5xi1>
    %129 = stablehlo.and %123, %128 : tensor<5xi1>
    %c_34 = stablehlo.constant dense<1> : tensor<i32>
    %130 = stablehlo.broadcast_in_dim %c_34, dims = [] : (tensor<i32>) -> tensor<5xi32>
    %131 = stablehlo.subtract %121, %130 : tensor<5xi32>
    %132 = stablehlo.select %129, %131, %121 : tensor<5xi1>, tensor<5xi32>
    %133 = stablehlo.reshape %132 : (tensor<5xi32>) -> tensor<5xi32>
    return %100, %115, %116, %133 : tensor<2xi32>, tensor<5x4xf32>, tensor<2x3xf32>, tensor<5xi32>
  }
}
