module @jit_func attributes {jax.uses_shape_polymorphism = true, mhlo.num_partitions = 1 : i32, mhlo.num_replicas = 1 : i32} {
  func.func public @main(%arg0: tensor<11x8xf32>, %arg1: tensor<5x8xf32>, %arg2: tensor<5xf32>, %arg3: tensor<?x6xi32>, %arg4: tensor<?x6x8xf32>) -> (tensor<?x5xf32> {jax.result_info = "result[0]"}, tensor<?xi32> {jax.result_info = "result[1]"}) {
    %c = stablehlo.constant dense<0> : tensor<i32>
    %c_0 = stablehlo.constant dense<1> : tensor<i32>
    %0 = stablehlo.get_dimension_size %arg3, dim = 0 : (tensor<?x6xi32>) -> tensor<i32>
    %1 = stablehlo.get_dimension_size %arg4, dim = 0 : (tensor<?x6x8xf32>) -> tensor<i32>
    %2 = stablehlo.compare GE, %0, %c_0, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.custom_call @shape_assertion(%2, %0) {api_version = 2 : i32, error_message = "other sizes", has_side_effect = true} : (tensor<i1>, tensor<i32>) -> ()
    %3 = stablehlo.compare EQ, %1, %0, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.custom_call @shape_assertion(%3, %1, %0) {api_version = 2 : i32, error_message = "other sizes", has_side_effect = true} : (tensor<i1>, tensor<i32>, tensor<i32>) -> ()
    %4 = stablehlo.compare GE, %0, %c, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.custom_call @shape_assertion(%4, %0) {api_version = 2 : i32, error_message = "other sizes", has_side_effect = true} : (tensor<i1>, tensor<i32>) -> ()
    %5:2 = call @_wrapped_jax_export_main(%0, %arg0, %arg1, %arg2, %arg3, %arg4) : (tensor<i32>, tensor<11x8xf32>, tensor<5x8xf32>, tensor<5xf32>, tensor<?x6xi32>, tensor<?x6x8xf32>) -> (tensor<?x5xf32>, tensor<?xi32>)
    return %5#0, %5#1 : tensor<?x5xf32>, tensor<?xi32>
  }
  func.func private @_wrapped_jax_export_main(%arg0: tensor<i32> {jax.global_constant = "s23"}, %arg1: tensor<11x8xf32>, %arg2: tensor<5x8xf32>, %arg3: tensor<5xf32>, %arg4: tensor<?x6xi32>, %arg5: tensor<?x6x8xf32>) -> (tensor<?x5xf32> {jax.result_info = "result[0]"}, tensor<?xi32> {jax.result_info = "result[1]"}) {
    %cst = stablehlo.constant dense<6.000000e+00> : tensor<f32>
    %c = stablehlo.constant dense<5> : tensor<1xi32>
    %cst_0 = stablehlo.constant dense<0.000000e+00> : tensor<f32>
    %c_1 = stablehlo.constant dense<1> : tensor<1xi32>
    %cst_2 = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %cst_3 = stablehlo.constant dense<5.000000e-01> : tensor<f32>
    %c_4 = stablehlo.constant dense<8> : tensor<1xi32>
    %c_5 = stablehlo.constant dense<6> : tensor<1xi32>
    %c_6 = stablehlo.constant dense<6> : tensor<i32>
    %cst_7 = stablehlo.constant dense<1.000000e+00> : tensor<f32>
    %0 = call @_take(%arg0, %arg1, %arg4) : (tensor<i32>, tensor<11x8xf32>, tensor<?x6xi32>) -> tensor<?x6x8xf32>
    %1 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %2 = stablehlo.concatenate %1, %c_5, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %3 = stablehlo.dynamic_broadcast_in_dim %cst_7, %2, dims = [] : (tensor<f32>, tensor<3xi32>) -> tensor<?x6x8xf32>
    %4 = stablehlo.multiply %arg5, %3 : tensor<?x6x8xf32>
    %5 = stablehlo.add %0, %4 : tensor<?x6x8xf32>
    %6 = stablehlo.transpose %5, dims = [0, 2, 1] : (tensor<?x6x8xf32>) -> tensor<?x8x6xf32>
    %7 = stablehlo.dot_general %5, %6, batching_dims = [0] x [0], contracting_dims = [2] x [1] : (tensor<?x6x8xf32>, tensor<?x8x6xf32>) -> tensor<?x6x6xf32>
    %8 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %9 = stablehlo.concatenate %8, %c_5, %c_5, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %10 = stablehlo.dynamic_broadcast_in_dim %cst_3, %9, dims = [] : (tensor<f32>, tensor<3xi32>) -> tensor<?x6x6xf32>
    %11 = stablehlo.multiply %7, %10 : tensor<?x6x6xf32>
    %12 = stablehlo.reduce(%11 init: %cst_2) applies stablehlo.maximum across dimensions = [2] : (tensor<?x6x6xf32>, tensor<f32>) -> tensor<?x6xf32>
    %13 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %14 = stablehlo.concatenate %13, %c_5, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %15 = stablehlo.dynamic_broadcast_in_dim %cst_2, %14, dims = [] : (tensor<f32>, tensor<2xi32>) -> tensor<?x6xf32>
    %16 = stablehlo.maximum %15, %12 : tensor<?x6xf32>
    %17 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %18 = stablehlo.concatenate %17, %c_5, %c_1, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %19 = stablehlo.dynamic_broadcast_in_dim %16, %18, dims = [0, 1] : (tensor<?x6xf32>, tensor<3xi32>) -> tensor<?x6x1xf32>
    %20 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %21 = stablehlo.concatenate %20, %c_5, %c_5, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %22 = stablehlo.dynamic_broadcast_in_dim %19, %21, dims = [0, 1, 2] : (tensor<?x6x1xf32>, tensor<3xi32>) -> tensor<?x6x6xf32>
    %23 = stablehlo.subtract %11, %22 : tensor<?x6x6xf32>
    %24 = stablehlo.exponential %23 : tensor<?x6x6xf32>
    %25 = stablehlo.reduce(%24 init: %cst_0) applies stablehlo.add across dimensions = [2] : (tensor<?x6x6xf32>, tensor<f32>) -> tensor<?x6xf32>
    %26 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %27 = stablehlo.concatenate %26, %c_5, %c_1, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %28 = stablehlo.dynamic_broadcast_in_dim %25, %27, dims = [0, 1] : (tensor<?x6xf32>, tensor<3xi32>) -> tensor<?x6x1xf32>
    %29 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %30 = stablehlo.concatenate %29, %c_5, %c_5, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %31 = stablehlo.dynamic_broadcast_in_dim %28, %30, dims = [0, 1, 2] : (tensor<?x6x1xf32>, tensor<3xi32>) -> tensor<?x6x6xf32>
    %32 = stablehlo.divide %24, %31 : tensor<?x6x6xf32>
    %33 = stablehlo.dot_general %32, %5, batching_dims = [0] x [0], contracting_dims = [2] x [1] : (tensor<?x6x6xf32>, tensor<?x6x8xf32>) -> tensor<?x6x8xf32>
    %34 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %35 = stablehlo.concatenate %34, %c_5, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %36 = stablehlo.dynamic_broadcast_in_dim %cst_7, %35, dims = [] : (tensor<f32>, tensor<3xi32>) -> tensor<?x6x8xf32>
    %37 = stablehlo.multiply %33, %36 : tensor<?x6x8xf32>
    %38 = stablehlo.add %5, %37 : tensor<?x6x8xf32>
    %39 = stablehlo.negate %38 : tensor<?x6x8xf32>
    %40 = stablehlo.exponential %39 : tensor<?x6x8xf32>
    %41 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %42 = stablehlo.concatenate %41, %c_5, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %43 = stablehlo.dynamic_broadcast_in_dim %cst_7, %42, dims = [] : (tensor<f32>, tensor<3xi32>) -> tensor<?x6x8xf32>
    %44 = stablehlo.add %43, %40 : tensor<?x6x8xf32>
    %45 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %46 = stablehlo.concatenate %45, %c_5, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %47 = stablehlo.dynamic_broadcast_in_dim %cst_7, %46, dims = [] : (tensor<f32>, tensor<3xi32>) -> tensor<?x6x8xf32>
    %48 = stablehlo.divide %47, %44 : tensor<?x6x8xf32>
    %49 = stablehlo.multiply %38, %48 : tensor<?x6x8xf32>
    %50 = stablehlo.convert %arg0 : tensor<i32>
    %51 = stablehlo.multiply %50, %c_6 : tensor<i32>
    %52 = stablehlo.reshape %51 : (tensor<i32>) -> tensor<1xi32>
    %53 = stablehlo.concatenate %52, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %54 = stablehlo.dynamic_reshape %49, %53 : (tensor<?x6x8xf32>, tensor<2xi32>) -> tensor<?x8xf32>
    %55 = stablehlo.transpose %arg2, dims = [1, 0] : (tensor<5x8xf32>) -> tensor<8x5xf32>
    %56 = stablehlo.broadcast_in_dim %cst_7, dims = [] : (tensor<f32>) -> tensor<5xf32>
    %57 = stablehlo.multiply %arg3, %56 : tensor<5xf32>
    %58 = stablehlo.dot_general %54, %55, contracting_dims = [1] x [0] : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
    %59 = stablehlo.convert %arg0 : tensor<i32>
    %60 = stablehlo.multiply %59, %c_6 : tensor<i32>
    %61 = stablehlo.reshape %60 : (tensor<i32>) -> tensor<1xi32>
    %62 = stablehlo.concatenate %61, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %63 = stablehlo.dynamic_broadcast_in_dim %cst_7, %62, dims = [] : (tensor<f32>, tensor<2xi32>) -> tensor<?x5xf32>
    %64 = stablehlo.multiply %63, %58 : tensor<?x5xf32>
    %65 = stablehlo.broadcast_in_dim %57, dims = [1] : (tensor<5xf32>) -> tensor<1x5xf32>
    %66 = stablehlo.convert %arg0 : tensor<i32>
    %67 = stablehlo.multiply %66, %c_6 : tensor<i32>
    %68 = stablehlo.reshape %67 : (tensor<i32>) -> tensor<1xi32>
    %69 = stablehlo.concatenate %68, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %70 = stablehlo.dynamic_broadcast_in_dim %65, %69, dims = [0, 1] : (tensor<1x5xf32>, tensor<2xi32>) -> tensor<?x5xf32>
    %71 = stablehlo.add %70, %64 : tensor<?x5xf32>
    %72 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %73 = stablehlo.concatenate %72, %c_5, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %74 = stablehlo.dynamic_reshape %71, %73 : (tensor<?x5xf32>, tensor<3xi32>) -> tensor<?x6x5xf32>
    %75 = stablehlo.reduce(%74 init: %cst_0) applies stablehlo.add across dimensions = [1] : (tensor<?x6x5xf32>, tensor<f32>) -> tensor<?x5xf32>
    %76 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %77 = stablehlo.concatenate %76, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %78 = stablehlo.dynamic_broadcast_in_dim %cst, %77, dims = [] : (tensor<f32>, tensor<2xi32>) -> tensor<?x5xf32>
    %79 = stablehlo.divide %75, %78 : tensor<?x5xf32>
    %80 = stablehlo.reduce(%79 init: %cst_2) applies stablehlo.maximum across dimensions = [1] : (tensor<?x5xf32>, tensor<f32>) -> tensor<?xf32>
    %81 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %82 = stablehlo.dynamic_broadcast_in_dim %cst_2, %81, dims = [] : (tensor<f32>, tensor<1xi32>) -> tensor<?xf32>
    %83 = stablehlo.maximum %82, %80 : tensor<?xf32>
    %84 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %85 = stablehlo.concatenate %84, %c_1, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %86 = stablehlo.dynamic_broadcast_in_dim %83, %85, dims = [0] : (tensor<?xf32>, tensor<2xi32>) -> tensor<?x1xf32>
    %87 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %88 = stablehlo.concatenate %87, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %89 = stablehlo.dynamic_broadcast_in_dim %86, %88, dims = [0, 1] : (tensor<?x1xf32>, tensor<2xi32>) -> tensor<?x5xf32>
    %90 = stablehlo.subtract %79, %89 : tensor<?x5xf32>
    %91 = stablehlo.exponential %90 : tensor<?x5xf32>
    %92 = stablehlo.reduce(%91 init: %cst_0) applies stablehlo.add across dimensions = [1] : (tensor<?x5xf32>, tensor<f32>) -> tensor<?xf32>
    %93 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %94 = stablehlo.concatenate %93, %c_1, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %95 = stablehlo.dynamic_broadcast_in_dim %92, %94, dims = [0] : (tensor<?xf32>, tensor<2xi32>) -> tensor<?x1xf32>
    %96 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %97 = stablehlo.concatenate %96, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %98 = stablehlo.dynamic_broadcast_in_dim %95, %97, dims = [0, 1] : (tensor<?x1xf32>, tensor<2xi32>) -> tensor<?x5xf32>
    %99 = stablehlo.divide %91, %98 : tensor<?x5xf32>
    %100 = call @argmax(%arg0, %99) : (tensor<i32>, tensor<?x5xf32>) -> tensor<?xi32>
    return %99, %100 : tensor<?x5xf32>, tensor<?xi32>
  }
  func.func private @_take(%arg0: tensor<i32> {jax.global_constant = "s23"}, %arg1: tensor<11x8xf32>, %arg2: tensor<?x6xi32>) -> tensor<?x6x8xf32> {
    %cst = stablehlo.constant dense<0x7FC00000> : tensor<f32>
    %c = stablehlo.constant dense<8> : tensor<1xi32>
    %c_0 = stablehlo.constant dense<true> : tensor<i1>
    %c_1 = stablehlo.constant dense<10> : tensor<1xi32>
    %c_2 = stablehlo.constant dense<1> : tensor<1xi32>
    %c_3 = stablehlo.constant dense<11> : tensor<i32>
    %c_4 = stablehlo.constant dense<6> : tensor<1xi32>
    %c_5 = stablehlo.constant dense<0> : tensor<i32>
    %0 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %1 = stablehlo.concatenate %0, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %2 = stablehlo.dynamic_broadcast_in_dim %c_5, %1, dims = [] : (tensor<i32>, tensor<2xi32>) -> tensor<?x6xi32>
    %3 = stablehlo.compare LT, %arg2, %2, SIGNED : (tensor<?x6xi32>, tensor<?x6xi32>) -> tensor<?x6xi1>
    %4 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %5 = stablehlo.concatenate %4, %c_4, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %6 = stablehlo.dynamic_broadcast_in_dim %c_3, %5, dims = [] : (tensor<i32>, tensor<2xi32>) -> tensor<?x6xi32>
    %7 = stablehlo.add %arg2, %6 : tensor<?x6xi32>
    %8 = call @_where(%arg0, %3, %7, %arg2) : (tensor<i32>, tensor<?x6xi1>, tensor<?x6xi32>, tensor<?x6xi32>) -> tensor<?x6xi32>
    %9 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %10 = stablehlo.concatenate %9, %c_4, %c_2, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %11 = stablehlo.dynamic_broadcast_in_dim %8, %10, dims = [0, 1] : (tensor<?x6xi32>, tensor<3xi32>) -> tensor<?x6x1xi32>
    %12 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %13 = stablehlo.concatenate %12, %c_4, %c_2, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %14 = stablehlo.dynamic_broadcast_in_dim %c_5, %13, dims = [] : (tensor<i32>, tensor<3xi32>) -> tensor<?x6x1xi32>
    %15 = stablehlo.compare GE, %11, %14, SIGNED : (tensor<?x6x1xi32>, tensor<?x6x1xi32>) -> tensor<?x6x1xi1>
    %16 = stablehlo.broadcast_in_dim %c_1, dims = [2] : (tensor<1xi32>) -> tensor<1x1x1xi32>
    %17 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %18 = stablehlo.concatenate %17, %c_4, %c_2, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %19 = stablehlo.dynamic_broadcast_in_dim %16, %18, dims = [0, 1, 2] : (tensor<1x1x1xi32>, tensor<3xi32>) -> tensor<?x6x1xi32>
    %20 = stablehlo.compare LE, %11, %19, SIGNED : (tensor<?x6x1xi32>, tensor<?x6x1xi32>) -> tensor<?x6x1xi1>
    %21 = stablehlo.and %15, %20 : tensor<?x6x1xi1>
    %22 = stablehlo.reduce(%21 init: %c_0) applies stablehlo.and across dimensions = [2] : (tensor<?x6x1xi1>, tensor<i1>) -> tensor<?x6xi1>
    %23 = "stablehlo.gather"(%arg1, %11) <{dimension_numbers = #stablehlo.gather<offset_dims = [2], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 2>, slice_sizes = array<i64: 1, 8>}> : (tensor<11x8xf32>, tensor<?x6x1xi32>) -> tensor<?x6x8xf32>
    %24 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %25 = stablehlo.concatenate %24, %c_4, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %26 = stablehlo.dynamic_broadcast_in_dim %22, %25, dims = [0, 1] : (tensor<?x6xi1>, tensor<3xi32>) -> tensor<?x6x8xi1>
    %27 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %28 = stablehlo.concatenate %27, %c_4, %c, dim = 0 : (tensor<1xi32>, tensor<1xi32>, tensor<1xi32>) -> tensor<3xi32>
    %29 = stablehlo.dynamic_broadcast_in_dim %cst, %28, dims = [] : (tensor<f32>, tensor<3xi32>) -> tensor<?x6x8xf32>
    %30 = stablehlo.select %26, %23, %29 : tensor<?x6x8xi1>, tensor<?x6x8xf32>
    return %30 : tensor<?x6x8xf32>
  }
  func.func private @_where(%arg0: tensor<i32> {jax.global_constant = "s23"}, %arg1: tensor<?x6xi1>, %arg2: tensor<?x6xi32>, %arg3: tensor<?x6xi32>) -> tensor<?x6xi32> {
    %0 = stablehlo.select %arg1, %arg2, %arg3 : tensor<?x6xi1>, tensor<?x6xi32>
    return %0 : tensor<?x6xi32>
  }
  func.func private @argmax(%arg0: tensor<i32>, %arg1: tensor<?x5xf32>) -> tensor<?xi32> {
    %c = stablehlo.constant dense<0> : tensor<i32>
    %cst = stablehlo.constant dense<0xFF800000> : tensor<f32>
    %c_0 = stablehlo.constant dense<5> : tensor<1xi32>
    %0 = stablehlo.reshape %arg0 : (tensor<i32>) -> tensor<1xi32>
    %1 = stablehlo.concatenate %0, %c_0, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %2 = stablehlo.dynamic_iota %1, dim = 1 : (tensor<2xi32>) -> tensor<?x5xi32>
    %3:2 = stablehlo.reduce(%arg1 init: %cst), (%2 init: %c) across dimensions = [1] : (tensor<?x5xf32>, tensor<?x5xi32>, tensor<f32>, tensor<i32>) -> (tensor<?xf32>, tensor<?xi32>)
     reducer(%arg2: tensor<f32>, %arg4: tensor<f32>) (%arg3: tensor<i32>, %arg5: tensor<i32>)  {
      %4 = stablehlo.compare GT, %arg2, %arg4, FLOAT : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %5 = stablehlo.compare NE, %arg2, %arg2, FLOAT : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %6 = stablehlo.or %4, %5 : tensor<i1>
      %7 = stablehlo.compare EQ, %arg2, %arg4, FLOAT : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %8 = stablehlo.compare LT, %arg3, %arg5, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>
      %9 = stablehlo.and %7, %8 : tensor<i1>
      %10 = stablehlo.or %6, %9 : tensor<i1>
      %11 = stablehlo.select %6, %arg2, %arg4 : tensor<i1>, tensor<f32>
      %12 = stablehlo.select %10, %arg3, %arg5 : tensor<i1>, tensor<i32>
      stablehlo.return %11, %12 : tensor<f32>, tensor<i32>
    }
    return %3#1 : tensor<?xi32>
  }
}
