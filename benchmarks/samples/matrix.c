/*
 * Dense matrices of doubles, row by row in one block of memory.
 *
 * Functions that can fail return a status; results go to their last argument.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(matrix, row, column) ((matrix)->values[(row) * (matrix)->columns + (column)])
#define SMALLEST_PIVOT 1e-12

typedef enum {
    MATRIX_OK,
    MATRIX_NO_MEMORY,
    MATRIX_WRONG_SHAPE,
    MATRIX_SINGULAR,
} matrix_status;

typedef struct {
    size_t rows;
    size_t columns;
    double *values;
} matrix;

static const char *const MESSAGES[] = {
    [MATRIX_OK] = "no error",
    [MATRIX_NO_MEMORY] = "out of memory",
    [MATRIX_WRONG_SHAPE] = "the shapes do not fit",
    [MATRIX_SINGULAR] = "the matrix has no inverse",
};

const char *matrix_message(matrix_status status)
{
    return MESSAGES[status];
}

/* Makes a matrix of zeros. */
matrix_status matrix_new(size_t rows, size_t columns, matrix *result)
{
    double *values = calloc(rows * columns, sizeof *values);
    if (values == NULL) {
        return MATRIX_NO_MEMORY;
    }
    *result = (matrix){.rows = rows, .columns = columns, .values = values};
    return MATRIX_OK;
}

void matrix_free(matrix *self)
{
    free(self->values);
    self->values = NULL;
    self->rows = self->columns = 0;
}

/*
 * Multiplies two matrices. The result is a new matrix, which the caller has to
 * free; it may be neither of the factors.
 */
matrix_status matrix_multiply(const matrix *left, const matrix *right, matrix *result)
{
    if (left->columns != right->rows) {
        return MATRIX_WRONG_SHAPE;
    }
    matrix_status status = matrix_new(left->rows, right->columns, result);
    if (status != MATRIX_OK) {
        return status;
    }
    for (size_t i = 0; i < left->rows; i++) {
        for (size_t k = 0; k < left->columns; k++) {
            double factor = AT(left, i, k);
            for (size_t j = 0; j < right->columns; j++) {
                AT(result, i, j) += factor * AT(right, k, j);
            }
        }
    }
    return MATRIX_OK;
}

/* Puts the row with the largest value in this column in the pivot's place. */
static bool choose_pivot(matrix *self, size_t column)
{
    size_t best = column;
    for (size_t row = column + 1; row < self->rows; row++) {
        if (fabs(AT(self, row, column)) > fabs(AT(self, best, column))) {
            best = row;
        }
    }
    for (size_t k = 0; best != column && k < self->columns; k++) {
        double value = AT(self, best, k);
        AT(self, best, k) = AT(self, column, k);
        AT(self, column, k) = value;
    }
    return fabs(AT(self, column, column)) > SMALLEST_PIVOT;
}

/* The determinant; the matrix is changed on the way. */
matrix_status matrix_determinant(matrix *self, double *result)
{
    if (self->rows != self->columns) {
        return MATRIX_WRONG_SHAPE;
    }
    *result = 1;
    for (size_t column = 0; column < self->columns; column++) {
        if (!choose_pivot(self, column)) {
            return MATRIX_SINGULAR;
        }
        *result *= AT(self, column, column);
    }
    return MATRIX_OK;
}

void matrix_print(const matrix *self, FILE *file)
{
    for (size_t row = 0; row < self->rows; row++) {
        for (size_t column = 0; column < self->columns; column++) {
            fprintf(file, "%s%10.4f", column > 0 ? "  " : "", AT(self, row, column));
        }
        fputc('\n', file);
    }
}
