// The eigenvectors of a symmetric matrix, by one thread in one order. LAPACK's are not the same bits for any number of
// its threads, and what is trained with them would not be either.
#pragma once

namespace forgetcli {

// `matrix` (n, n), row by row, of which both triangles are read, becomes the eigenvectors, one a row, of the eigenvalues
// in `values` (n,), in no order. A matrix that is not finite gives values that are not.
void eigen_symmetric(int n, double* matrix, double* values);

}  // namespace forgetcli
